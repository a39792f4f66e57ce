package address

import (
	"testing"

	"rtcd/internal/leak"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/address") }
