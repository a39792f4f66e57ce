package browser

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"rtcd/test/lab"
)

// firefoxPrefs make a quiet Firefox with a fake camera, whose pages may play and capture without being asked.
const firefoxPrefs = `
user_pref("app.update.enabled", false);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("datareporting.policy.firstRunURL", "");
user_pref("dom.timeout.enable_budget_timer_throttling", false);
user_pref("dom.min_background_timeout_value", 4);
user_pref("extensions.update.enabled", false);
user_pref("media.autoplay.default", 0);
user_pref("media.autoplay.blocking_policy", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.navigator.streams.fake", true);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.proxy.type", 0);
user_pref("network.trr.mode", 5);
user_pref("remote.active-protocols", 1);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.server", "data:,");
`

// startFirefox returns the BiDi URL. The profile's own certificate database holds the authority.
func (b *Browser) startFirefox(ctx context.Context, node *lab.Node, ca *lab.CA) (string, error) {
	profile := filepath.Join(b.home, "profile")
	if err := trust(ctx, profile, ca); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		return "", err
	}
	cmd := node.Command(context.WithoutCancel(ctx), "firefox-esr",
		"--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0", "--width=1280", "--height=1000", "about:blank")
	var err error
	if b.process, err = lab.Start(in(cmd, b.home)); err != nil {
		return "", err
	}
	m, err := b.process.Await(ctx, `WebDriver BiDi listening on (ws://\S+)`)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(m[1], "/") + "/session", nil
}

// bidi speaks WebDriver BiDi; a tab is a browsing context.
type bidi struct{ rpc *rpc }

func (bidi) quit() string { return "browser.close" }

func (d bidi) begin(ctx context.Context) error {
	return d.rpc.call(ctx, "", "session.new", object{"capabilities": object{}}, nil)
}

func (d bidi) open(ctx context.Context) (string, error) {
	var out struct {
		Context string `json:"context"`
	}
	err := d.rpc.call(ctx, "", "browsingContext.create", object{"type": "window"}, &out)
	return out.Context, err
}

func (d bidi) preload(ctx context.Context, tab, script string) error {
	params := object{"functionDeclaration": script, "contexts": []string{tab}}
	return d.rpc.call(ctx, "", "script.addPreloadScript", params, nil)
}

func (d bidi) navigate(ctx context.Context, tab, url string) error {
	return d.rpc.call(ctx, "", "browsingContext.navigate", object{"context": tab, "url": url, "wait": "complete"}, nil)
}

func (d bidi) evaluate(ctx context.Context, tab, expression string) (string, error) {
	var out struct {
		Result struct {
			Value string `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	params := object{"expression": expression, "target": object{"context": tab}, "awaitPromise": true, "userActivation": true}
	if err := d.rpc.call(ctx, "", "script.evaluate", params, &out); err != nil {
		return "", err
	}
	if out.Exception != nil {
		return "", fmt.Errorf("page: %s", out.Exception.Text)
	}
	return out.Result.Value, nil
}

func (d bidi) press(ctx context.Context, tab, name string) error {
	if k, named := keys[name]; named {
		name = k.element
	}
	stroke := []object{{"type": "keyDown", "value": name}, {"type": "keyUp", "value": name}}
	params := object{"context": tab, "actions": []object{{"type": "key", "id": "keyboard", "actions": stroke}}}
	return d.rpc.call(ctx, "", "input.performActions", params, nil)
}

func (d bidi) resize(ctx context.Context, tab string, width, height int) error {
	params := object{"context": tab, "viewport": object{"width": width, "height": height}}
	return d.rpc.call(ctx, "", "browsingContext.setViewport", params, nil)
}

func (d bidi) screenshot(ctx context.Context, tab string) (string, error) {
	var out struct {
		Data string `json:"data"`
	}
	err := d.rpc.call(ctx, "", "browsingContext.captureScreenshot", object{"context": tab, "origin": "document"}, &out)
	return out.Data, err
}

func (d bidi) close(ctx context.Context, tab string) error {
	return d.rpc.call(ctx, "", "browsingContext.close", object{"context": tab}, nil)
}
