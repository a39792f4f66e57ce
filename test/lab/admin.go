package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
)

// AdminAddress is where an rtcd in a node is to listen for its operator.
const AdminAddress = "127.0.0.1:9641"

// Admin is the admin listener of the rtcd in a node. Close it at the end.
type Admin struct{ client http.Client }

// Admin is that of the rtcd which listens at AdminAddress.
func (nd *Node) Admin() *Admin {
	a := &Admin{}
	a.client.Transport = &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) { return nd.Dial(ctx, network, addr) },
	}
	return a
}

// Close ends the connections that wait for another request.
func (a *Admin) Close() { a.client.CloseIdleConnections() }

// Ask gets a page. It is an error if that is not 200.
func (a *Admin) Ask(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+AdminAddress+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s\n%s", path, resp.Status, body)
	}
	return string(body), err
}

// Ready says whether the server is ready to serve.
func (a *Admin) Ready(ctx context.Context) bool {
	_, err := a.Ask(ctx, "/readyz")
	return err == nil
}

// Metrics gets them in the text format.
func (a *Admin) Metrics(ctx context.Context) (string, error) { return a.Ask(ctx, "/metrics") }

// Sum is that of the metrics whose name and labels match the pattern, 0 if there is none.
func (a *Admin) Sum(ctx context.Context, pattern string) (sum float64, err error) {
	text, err := a.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	series, err := regexp.Compile(`(?m)^(?:` + pattern + `) (\S+)$`)
	if err != nil {
		return 0, err
	}
	for _, m := range series.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(m[len(m)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", m[0], err)
		}
		sum += n
	}
	return sum, nil
}
