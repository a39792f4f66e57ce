package supervisor

import (
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Ready says that start or reload is over, and what runs now in a line for people.
func Ready(status string) { tell(daemon.SdNotifyReady, statusLine(status)) }

// Reloading says that the configuration is being taken anew; Ready has to follow, however
// that went.
func Reloading() {
	// With the time, which Type=notify-reload wants.
	tell(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that the end has begun.
func Stopping(status string) { tell(daemon.SdNotifyStopping, statusLine(status)) }

// Status says in a line for people what is going on.
func Status(status string) { tell(statusLine(status)) }

// More asks for so much more time, from now on, to start, reload or stop in.
func More(d time.Duration) {
	tell("EXTEND_TIMEOUT_USEC=" + strconv.FormatInt(d.Microseconds(), 10))
}

// statusLine is one line, whatever the text: further ones would be other messages.
func statusLine(text string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, text)
}

// tell sends one message. A manager that cannot be reached has no use for an error.
func tell(lines ...string) { daemon.SdNotify(false, strings.Join(lines, "\n")) }
