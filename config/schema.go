package config

import (
	"encoding/json"
	"reflect"

	"github.com/invopop/jsonschema"
)

// SchemaID is the $id of the JSON schema.
const SchemaID = "https://rtcd.invalid/config.schema.json"

// Schema returns the JSON schema (draft 2020-12) of the file, indented.
func Schema() ([]byte, error) {
	r := jsonschema.Reflector{
		FieldNameTag:               "yaml",
		DoNotReference:             true,
		RequiredFromJSONSchemaTags: true, // that is: nothing is required
		Anonymous:                  true,
	}
	s := r.Reflect(&Config{})
	s.ID = SchemaID
	s.Title = "rtcd configuration"
	c := Default()
	addDefaults(s, reflect.ValueOf(c))
	return json.MarshalIndent(s, "", "  ")
}

// addDefaults writes the values of the struct v into the properties of s.
func addDefaults(s *jsonschema.Schema, v reflect.Value) {
	for i := range v.NumField() {
		property, ok := s.Properties.Get(v.Type().Field(i).Tag.Get("yaml"))
		if !ok {
			continue
		}
		switch field := v.Field(i); {
		case isSection(field.Type()):
			addDefaults(property, field)
		case field.Kind() == reflect.Bool:
			property.Default = field.Bool()
		case field.Kind() == reflect.Slice:
			list := make([]string, field.Len())
			for j := range list {
				list[j] = textOf(field.Index(j))
			}
			property.Default = list
		default:
			property.Default = textOf(field)
		}
	}
}

func pattern(p, example string) *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Pattern: p, Examples: []any{example}}
}

// orNumber also admits a bare number, as YAML writes it without quotes.
func orNumber(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "integer", Minimum: "0"}}}
}

func words(e enum) *jsonschema.Schema {
	s := &jsonschema.Schema{Type: "string"}
	for _, w := range e.words() {
		s.Enum = append(s.Enum, w)
	}
	return s
}

// JSONSchema describes a list, or its only element.
func (List[T]) JSONSchema() *jsonschema.Schema {
	item := &jsonschema.Schema{Type: "string"}
	var zero T
	if d, ok := any(zero).(interface{ JSONSchema() *jsonschema.Schema }); ok {
		item = d.JSONSchema()
	}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		item, {Const: ""}, {Type: "array", Items: item},
	}}
}

// JSONSchema describes a duration.
func (Duration) JSONSchema() *jsonschema.Schema {
	s := orNumber(pattern(`^(\d+d)?(\d+(\.\d+)?(ns|us|ms|s|m|h))*$|^0$`, "90s"))
	s.AnyOf[1].Maximum = "0"
	return s
}

// JSONSchema describes a size.
func (Size) JSONSchema() *jsonschema.Schema {
	return orNumber(pattern(`^\d+ ?(B|KiB|MiB|GiB|kB|KB|MB|GB)?$`, "64KiB"))
}

// JSONSchema describes a bit rate.
func (Bitrate) JSONSchema() *jsonschema.Schema {
	return orNumber(pattern(`^\d+ ?(bit|kbit|Kbit|Mbit|Gbit)?$`, "20Mbit"))
}

// JSONSchema describes a rate.
func (Rate) JSONSchema() *jsonschema.Schema {
	s := orNumber(pattern(`^\d+/(\d+(\.\d+)?)?(ms|s|m|h)$|^0$`, "10/10s"))
	s.AnyOf[1].Maximum = "0"
	return s
}

// JSONSchema describes a count.
func (Count) JSONSchema() *jsonschema.Schema { return orNumber(pattern(`^\d+$`, "16")) }

// JSONSchema describes a range of ports.
func (PortRange) JSONSchema() *jsonschema.Schema {
	return pattern(`^\d{1,5} ?- ?\d{1,5}$`, "49152-65535")
}

// JSONSchema describes an address to listen on.
func (Address) JSONSchema() *jsonschema.Schema {
	return pattern(`^(unix:/.+|[^ ]*:\d{1,5})$`, ":3478")
}

// JSONSchema describes an external address.
func (ExternalIP) JSONSchema() *jsonschema.Schema {
	return pattern(`^(auto|dns:.+|[0-9.]+|[0-9a-fA-F:.]+)$`, "auto")
}

// JSONSchema describes a relay address.
func (RelayIP) JSONSchema() *jsonschema.Schema {
	return pattern(`^[0-9a-fA-F:.]+(/[0-9a-fA-F:.]+)?$`, "203.0.113.5/10.0.0.5")
}

// JSONSchema describes a server.
func (Host) JSONSchema() *jsonschema.Schema {
	return pattern(`^(\[[0-9a-fA-F:.]+\]|[^ :]+):\d{1,5}$`, "stun.example.com:3478")
}

// JSONSchema describes a URL of a STUN or TURN server.
func (ICEURL) JSONSchema() *jsonschema.Schema {
	return pattern(`^(stuns?|turns?):[^/ ?]+(\?transport=(udp|tcp))?$`, "turn:turn.example.com:3478?transport=udp")
}

// JSONSchema describes the words that are allowed.
func (m PortMapping) JSONSchema() *jsonschema.Schema { return words(m) }

// JSONSchema describes bounds by the name of a user, or a list of them in one line each.
func (UserLimits) JSONSchema() *jsonschema.Schema {
	bounds := (&jsonschema.Reflector{FieldNameTag: "yaml", DoNotReference: true, RequiredFromJSONSchemaTags: true, Anonymous: true}).Reflect(&UserBounds{})
	bounds.Version = ""
	item := pattern(`^.+=(allocations|allocations_per_ip|bandwidth):.+$`, "frigate=allocations:200/bandwidth:50Mbit")
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
		{Type: "object", AdditionalProperties: bounds}, item, {Const: ""}, {Type: "array", Items: item},
	}}
}

// JSONSchema describes a rule about peers.
func (PeerRule) JSONSchema() *jsonschema.Schema {
	return pattern(`^(recommended|[0-9a-fA-F:.]+(/\d{1,3})?)$`, "10.0.0.0/8")
}

// JSONSchema describes a network.
func (Network) JSONSchema() *jsonschema.Schema {
	return pattern(`^[0-9a-fA-F:.]+(/\d{1,3})?$`, "10.0.0.0/8")
}

// JSONSchema describes an address and port.
func (Endpoint) JSONSchema() *jsonschema.Schema {
	return pattern(`^(\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:.]+\]):\d{1,5}$`, "203.0.113.9:3478")
}

// JSONSchema describes a web origin.
func (Origin) JSONSchema() *jsonschema.Schema {
	return pattern(`^(self|\*|https?://[^/]+)$`, "self")
}

// JSONSchema describes the words that are allowed.
func (m TLSMode) JSONSchema() *jsonschema.Schema { return words(m) }

// JSONSchema describes the words that are allowed.
func (a Auth) JSONSchema() *jsonschema.Schema { return words(a) }

// JSONSchema describes the words that are allowed.
func (a Access) JSONSchema() *jsonschema.Schema { return words(a) }

// JSONSchema describes the words that are allowed.
func (l LogLevel) JSONSchema() *jsonschema.Schema { return words(l) }

// JSONSchema describes the words that are allowed.
func (f LogFormat) JSONSchema() *jsonschema.Schema { return words(f) }
