package natlab

import "testing"

// What takes minutes is for the long form alone.
func TestLongForm(t *testing.T) {
	if !long() {
		return
	}
	t.Run("Chromium", testChromium)
	t.Run("bad lines", testBadLines)
	t.Run("moving again and again", testMovingAgainAndAgain)
	t.Run("half-open connections", testHalfOpenConnections)
}
