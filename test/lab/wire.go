package lab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wireHome is the wire's interface at the home.
const wireHome = "wire"

// Impairment is what a line does to packets, in each direction.
type Impairment struct {
	Loss  float64       // the share that is lost, 0 to 1
	Delay time.Duration // of each packet; the order stays
	Twice float64       // the share that comes twice
}

// Toll is what a line has done to UDP packets in one direction; the systems at its ends send others of their own.
type Toll struct{ Lost, Doubled int64 }

// Tolls are those of the line that Impair has made, towards the home and from it.
func (s *NAT) Tolls() (in, out Toll) {
	of := func(i int) Toll { return Toll{s.wire.lost[i].Load(), s.wire.doubled[i].Load()} }
	return of(0), of(1)
}

// Impair leads the home's packets over a bad line: two TUN devices with a queue in this process between them, for
// not every kernel has netem. It may be called again to change the line.
func (s *NAT) Impair(line Impairment) error {
	if s.wire == nil {
		w, err := newWire(s.net, s.gateways[0].Node)
		if err != nil {
			return fmt.Errorf("lab: wire of %s: %w", s.gateways[0].ns, err)
		}
		s.wire = w
		if err := s.route(); err != nil {
			return err
		}
	}
	s.wire.line.Store(&line)
	return nil
}

// wire carries packets between two TUN devices.
type wire struct {
	name string // of the device in the core
	ends [2]*os.File
	line atomic.Pointer[Impairment]

	lost, doubled [2]atomic.Int64 // by the end that they came from
	done          sync.WaitGroup
}

func newWire(n *Net, home *Node) (*wire, error) {
	w := &wire{name: "w-" + strings.TrimPrefix(home.port, "to-")}
	w.line.Store(&Impairment{})
	for i, end := range []struct {
		at   *Node
		name string
	}{{&Node{ns: n.router}, w.name}, {home, wireHome}} {
		var err error
		if w.ends[i], err = openTUN(end.at, end.name); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	for i := range w.ends {
		// Owned by the wire; it ends when the devices are closed.
		w.done.Go(func() { w.carry(i) })
	}
	return w, nil
}

// openTUN makes a device and brings it up. It lives as long as the file.
func openTUN(node *Node, name string) (file *os.File, err error) {
	err = node.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("TUN device %s: %w", name, err), unix.Close(fd))
		}
		file = os.NewFile(uintptr(fd), name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, node.ip("link", "set", name, "up", "txqueuelen", "10000")
}

type delayed struct {
	due    time.Time
	packet []byte
}

// carry reads packets at one end, loses some and hands the rest to the other end when their time has come.
func (w *wire) carry(end int) {
	from, to := w.ends[end], w.ends[1-end]
	queue := make(chan delayed, 10000)
	var writer sync.WaitGroup
	// Owned by carry; it ends with the queue.
	writer.Go(func() {
		for d := range queue {
			time.Sleep(time.Until(d.due))
			_, _ = to.Write(d.packet) // a device that is down loses it, as a line may
		}
	})
	defer writer.Wait()
	defer close(queue)
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		line, counts := w.line.Load(), int64(0)
		if isUDP(buf[:n]) {
			counts = 1
		}
		if rand.Float64() < line.Loss {
			w.lost[end].Add(counts)
			continue
		}
		packet := delayed{time.Now().Add(line.Delay), append([]byte(nil), buf[:n]...)}
		select {
		case queue <- packet:
		default: // the line is full
			w.lost[end].Add(counts)
			continue
		}
		if rand.Float64() < line.Twice {
			select {
			case queue <- packet:
				w.doubled[end].Add(counts)
			default:
			}
		}
	}
}

// isUDP says whether an IP packet has UDP in it (RFC 791, RFC 8200).
func isUDP(packet []byte) bool {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return packet[9] == unix.IPPROTO_UDP
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return packet[6] == unix.IPPROTO_UDP
	}
	return false
}

// close removes the devices and waits for what is under way.
func (w *wire) close() error {
	var errs []error
	for _, end := range w.ends {
		if end != nil {
			errs = append(errs, end.Close())
		}
	}
	w.done.Wait()
	return errors.Join(errs...)
}
