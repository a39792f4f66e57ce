package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"rtcd/test/lab"
)

// startChromium returns the DevTools URL. Chromium reads the user's NSS database for authorities of its own.
func (b *Browser) startChromium(ctx context.Context, node *lab.Node, ca *lab.CA) (string, error) {
	var lenient []string
	if ca == nil {
		lenient = []string{"--ignore-certificate-errors"}
	} else if err := trust(ctx, filepath.Join(b.home, ".pki", "nssdb"), ca); err != nil {
		return "", err
	}
	args := append(lenient,
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--remote-debugging-port=0", "--user-data-dir="+filepath.Join(b.home, "profile"),
		"--no-first-run", "--no-default-browser-check", "--no-proxy-server", "--password-store=basic",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
		"--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding",
		"--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream", "--autoplay-policy=no-user-gesture-required",
		"--mute-audio", "--enable-blink-features=ComputedAccessibilityInfo", "--window-size=1280,1000", "about:blank")
	cmd := node.Command(context.WithoutCancel(ctx), "chromium", args...)
	var err error
	if b.process, err = lab.Start(in(cmd, b.home)); err != nil {
		return "", err
	}
	m, err := b.process.Await(ctx, `DevTools listening on (ws://\S+)`)
	if err != nil {
		return "", err
	}
	return m[1], nil
}

// devtools speaks the Chrome DevTools Protocol; a tab is an attached session.
type devtools struct{ rpc *rpc }

type object = map[string]any

func (devtools) quit() string { return "Browser.close" }

func (d devtools) begin(context.Context) error { return nil }

func (d devtools) open(ctx context.Context) (string, error) {
	var target struct {
		ID string `json:"targetId"`
	}
	err := d.rpc.call(ctx, "", "Target.createTarget", object{"url": "about:blank", "newWindow": true}, &target)
	if err != nil {
		return "", err
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	err = d.rpc.call(ctx, "", "Target.attachToTarget", object{"targetId": target.ID, "flatten": true}, &session)
	if err != nil {
		return "", err
	}
	return session.ID, d.rpc.call(ctx, session.ID, "Page.enable", object{}, nil)
}

func (d devtools) preload(ctx context.Context, tab, script string) error {
	source := "(" + script + ")();"
	return d.rpc.call(ctx, tab, "Page.addScriptToEvaluateOnNewDocument", object{"source": source}, nil)
}

func (d devtools) navigate(ctx context.Context, tab, url string) error {
	var out struct {
		ErrorText string `json:"errorText"`
	}
	if err := d.rpc.call(ctx, tab, "Page.navigate", object{"url": url}, &out); err != nil {
		return err
	}
	if out.ErrorText != "" {
		return fmt.Errorf("load %s: %s", url, out.ErrorText)
	}
	const loaded = `new Promise(done => document.readyState === "complete" ? done("") : addEventListener("load", () => done("")))`
	_, err := d.evaluate(ctx, tab, loaded)
	return err
}

func (d devtools) evaluate(ctx context.Context, tab, expression string) (string, error) {
	var out struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	params := object{"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true}
	if err := d.rpc.call(ctx, tab, "Runtime.evaluate", params, &out); err != nil {
		return "", err
	}
	if out.Exception != nil {
		return "", fmt.Errorf("page: %s %s", out.Exception.Text, out.Exception.Exception.Description)
	}
	var text string
	return text, json.Unmarshal(out.Result.Value, &text)
}

func (d devtools) press(ctx context.Context, tab, name string) error {
	k, named := keys[name]
	if !named {
		k.text = name
	}
	down := object{"type": "keyDown", "key": name, "text": k.text, "windowsVirtualKeyCode": k.code}
	if err := d.rpc.call(ctx, tab, "Input.dispatchKeyEvent", down, nil); err != nil {
		return err
	}
	up := object{"type": "keyUp", "key": name, "windowsVirtualKeyCode": k.code}
	return d.rpc.call(ctx, tab, "Input.dispatchKeyEvent", up, nil)
}

func (d devtools) resize(ctx context.Context, tab string, width, height int) error {
	params := object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}
	if err := d.rpc.call(ctx, tab, "Emulation.setDeviceMetricsOverride", params, nil); err != nil {
		return err
	}
	// Else a bar of a width that no phone has would stand in it.
	return d.rpc.call(ctx, tab, "Emulation.setScrollbarsHidden", object{"hidden": true}, nil)
}

func (d devtools) screenshot(ctx context.Context, tab string) (string, error) {
	var out struct {
		Data string `json:"data"`
	}
	err := d.rpc.call(ctx, tab, "Page.captureScreenshot", object{"format": "png", "captureBeyondViewport": true}, &out)
	return out.Data, err
}

func (d devtools) close(ctx context.Context, tab string) error {
	return d.rpc.call(ctx, tab, "Page.close", object{}, nil)
}
