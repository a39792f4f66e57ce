package browser

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// ScanQR reads the QR code from a picture of the page, as a phone does. It needs zbarimg.
func (p *Page) ScanQR(ctx context.Context) (string, error) {
	png, err := p.Screenshot(ctx)
	if err != nil {
		return "", err
	}
	scan := exec.CommandContext(ctx, "zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", "-")
	scan.Stdin = bytes.NewReader(png)
	out, err := scan.Output()
	if err != nil {
		return "", fmt.Errorf("zbarimg finds no QR code in the page: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
