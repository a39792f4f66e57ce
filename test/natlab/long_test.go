package natlab

import "testing"

// What takes minutes is for the long form alone.
func TestLongForm(t *testing.T) {
	if !long() {
		return
	}
	t.Run("Chromium", testChromium)
}
