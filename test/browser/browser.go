package browser

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"rtcd/test/lab"
)

// Kind is which browser.
type Kind string

// The browsers that Debian has.
const (
	Chromium Kind = "chromium"
	Firefox  Kind = "firefox"
)

// Browser is one running browser. Its pages may be used from several goroutines.
type Browser struct {
	Kind    Kind
	home    string // profile and temporary files, removed in the end
	process *lab.Process
	rpc     *rpc
	driver  driver
}

// driver is what the two protocols do differently. A tab is the protocol's own handle of a page.
type driver interface {
	// quit is the name of the request that ends the browser.
	quit() string
	// begin is called once, after the socket stands.
	begin(ctx context.Context) error
	// open opens an empty tab.
	open(ctx context.Context) (tab string, err error)
	// preload has the script run in the tab before any script of every page that it will load.
	preload(ctx context.Context, tab, script string) error
	// navigate loads a page and returns when its load event is over or near.
	navigate(ctx context.Context, tab, url string) error
	// evaluate waits for the promise that the expression yields and returns its string.
	evaluate(ctx context.Context, tab, expression string) (string, error)
	// press presses and releases a key: the name of one in keys, or a character.
	press(ctx context.Context, tab, key string) error
	// resize gives the tab a viewport of that many CSS pixels.
	resize(ctx context.Context, tab string, width, height int) error
	// screenshot returns what the tab shows, base64 of a PNG.
	screenshot(ctx context.Context, tab string) (string, error)
	// close closes the tab.
	close(ctx context.Context, tab string) error
}

// Open starts a browser in the node with a fresh profile. Without an authority it passes over
// the warning of a certificate that nobody vouches for, as people can (Chromium alone).
func Open(ctx context.Context, kind Kind, node *lab.Node, ca *lab.CA) (*Browser, error) {
	home, err := os.MkdirTemp("", "rtcdlab-") // short: Chromium has a Unix socket in it
	if err != nil {
		return nil, err
	}
	b := &Browser{Kind: kind, home: home}
	var url string
	switch kind {
	case Chromium:
		url, err = b.startChromium(ctx, node, ca)
	case Firefox:
		url, err = b.startFirefox(ctx, node, ca)
	default:
		return nil, fmt.Errorf("no browser of kind %q", kind)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if b.rpc, err = dialRPC(ctx, url, node.Dial); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if kind == Chromium {
		b.driver = devtools{b.rpc}
	} else {
		b.driver = bidi{b.rpc}
	}
	if err := b.driver.begin(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close asks the browser to end, kills what is left of it and removes its files.
func (b *Browser) Close() error {
	if b.rpc != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = b.rpc.call(ctx, "", b.driver.quit(), object{}, nil) // the answer may get lost in the end of it
		_ = b.process.Wait(ctx)
		b.rpc.close()
	}
	var err error
	if b.process != nil {
		err = b.process.Stop()
	}
	return errors.Join(err, os.RemoveAll(b.home))
}

// Log is what the browser has written on its standard streams.
func (b *Browser) Log() string { return b.process.Output() }

// Page is one tab.
type Page struct {
	browser *Browser
	tab     string
}

// NewPage opens an empty tab. Each script of preload is the source of a function without arguments that runs before
// any script of every page loaded in the tab.
func (b *Browser) NewPage(ctx context.Context, preload ...string) (*Page, error) {
	tab, err := b.driver.open(ctx)
	if err != nil {
		return nil, err
	}
	for _, script := range preload {
		if err := b.driver.preload(ctx, tab, script); err != nil {
			return nil, err
		}
	}
	return &Page{browser: b, tab: tab}, nil
}

// Navigate loads a page.
func (p *Page) Navigate(ctx context.Context, url string) error {
	return p.browser.driver.navigate(ctx, p.tab, url)
}

// Eval calls a JavaScript function, given as source, with arguments that become JSON; it waits for the function's
// promise and decodes what that yields into out (nil: ignored).
func (p *Page) Eval(ctx context.Context, out any, function string, args ...any) error {
	if args == nil {
		args = []any{}
	}
	list, err := json.Marshal(args)
	if err != nil {
		return err
	}
	const shape = `(async () => JSON.stringify(await (%s)(...%s)) ?? "null")()`
	text, err := p.browser.driver.evaluate(ctx, p.tab, fmt.Sprintf(shape, function, list))
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return fmt.Errorf("decode %.200s: %w", text, err)
	}
	return nil
}

// key is one without a character of its own.
type key struct {
	code    int    // Windows' virtual key, for DevTools
	text    string // what it types, for DevTools
	element string // WebDriver's character for it, for BiDi
}

// keys are known by the names that pages see (KeyboardEvent.key).
var keys = map[string]key{
	"Tab":    {code: 9, element: "\uE004"},
	"Enter":  {code: 13, text: "\r", element: "\uE007"},
	"Escape": {code: 27, element: "\uE00C"},
}

// Press presses keys one after the other, as a person does: each is a name (Tab, Enter, Escape) or a character.
func (p *Page) Press(ctx context.Context, names ...string) error {
	for _, name := range names {
		if err := p.browser.driver.press(ctx, p.tab, name); err != nil {
			return fmt.Errorf("press %q: %w", name, err)
		}
	}
	return nil
}

// Resize gives the page a viewport of that many CSS pixels.
func (p *Page) Resize(ctx context.Context, width, height int) error {
	return p.browser.driver.resize(ctx, p.tab, width, height)
}

// Screenshot returns what the page shows, as a PNG.
func (p *Page) Screenshot(ctx context.Context) ([]byte, error) {
	text, err := p.browser.driver.screenshot(ctx, p.tab)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(text)
}

// Close closes the tab.
func (p *Page) Close(ctx context.Context) error { return p.browser.driver.close(ctx, p.tab) }

// trust makes an NSS certificate database in dir that trusts the authority for servers.
func trust(ctx context.Context, dir string, ca *lab.CA) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"-N", "--empty-password"},
		{"-A", "-n", "rtcd test authority", "-t", "C,,", "-i", ca.File},
	} {
		cmd := exec.CommandContext(ctx, "certutil", append(args, "-d", "sql:"+dir)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("certutil: %w: %s", err, out)
		}
	}
	return nil
}

// in runs a browser with its own home directory, away from the user's settings and from any desktop session.
func in(cmd *exec.Cmd, home string) *exec.Cmd {
	cmd.Dir = home
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+filepath.Join(home, "config"),
		"XDG_CACHE_HOME="+filepath.Join(home, "cache"), "XDG_RUNTIME_DIR="+home, "TMPDIR="+home,
		"DBUS_SESSION_BUS_ADDRESS=disabled:", "MOZ_HEADLESS=1", "MOZ_CRASHREPORTER_DISABLE=1", "NO_PROXY=*", "no_proxy=*")
	return cmd
}
