package jsonws

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"rtcd/signaling"
)

// topics is the part of a client that has subscribed. The client's lock guards it.
type topics struct {
	session *signaling.Session // nil until the first subscribe
	seat    *seat
	others  map[string]int // by topic: how many others are there
}

func (t *topics) end() {
	if t.session == nil {
		return
	}
	t.seat.hear = nil
	t.session.End()
	*t = topics{}
}

func (c *client) subscribe(verb string, m map[string]json.RawMessage) {
	var wanted []json.RawMessage
	if json.Unmarshal(m["topics"], &wanted) != nil {
		return
	}
	t := &c.topics
	if t.session == nil {
		place := &seat{client: c}
		place.hear = c.hearTopic
		session, err := c.open(signaling.Hello{Tenant: "topics:" + c.tenant}, place)
		if err != nil {
			c.socket.Close(signaling.CloseForbidden, err.Error())
			return
		}
		*t = topics{session: session, seat: place, others: map[string]int{}}
	}
	for _, v := range wanted {
		topic, ok := text(v)
		if !ok || !validName(topic) {
			continue
		}
		if verb == "unsubscribe" {
			delete(t.others, topic)
			t.session.Apply(signaling.Message{Type: signaling.TypeLeave, Room: topic})
			continue
		}
		if _, member := t.others[topic]; !member {
			t.others[topic] = 0 // until joined says how many
		}
		t.session.Apply(signaling.Message{Type: signaling.TypeJoin, Room: topic})
	}
}

// publish brings a message to all who subscribed.
func (c *client) publish(m map[string]json.RawMessage) {
	topic, ok := text(m["topic"])
	if !ok || c.topics.session == nil {
		return
	}
	c.topics.session.Apply(signaling.Message{
		Type: signaling.TypeMessage, To: "#" + topic, Event: topic, Data: publication(m), Echo: true,
	})
}

// publication is a message but for the number of clients and the last bracket, which
// wordPublication adds for each receiver.
func publication(m map[string]json.RawMessage) json.RawMessage {
	b := []byte{'{'}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if key != "clients" {
			b = append(append(append(appendString(b, key), ':'), m[key]...), ',')
		}
	}
	return append(b, `"clients":`...)
}

func wordPublication(p json.RawMessage, clients int) []byte {
	return append(strconv.AppendInt(slices.Clone([]byte(p)), int64(clients), 10), '}')
}

// hearTopic words what comes for the one who has subscribed.
func (c *client) hearTopic(e *signaling.Event) []byte {
	t := &c.topics
	switch e.Type {
	case signaling.TypeJoined:
		if _, member := t.others[e.Room]; member {
			t.others[e.Room] = len(e.Peers)
		}
	case signaling.TypePeer:
		if n, member := t.others[e.Room]; member {
			switch e.Name {
			case signaling.EventJoin:
				t.others[e.Room] = n + 1
			case signaling.EventLeave:
				t.others[e.Room] = n - 1
			}
		}
	case signaling.TypeMessage:
		n, member := t.others[e.Name]
		if !member {
			return nil
		}
		return wordPublication(e.Data, n+1)
	}
	return nil
}
