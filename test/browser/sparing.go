package browser

import (
	"flag"
	"runtime"
	"strconv"
)

// Sparing lets no more tests run at once than the machine has room for browsers, whatever
// -parallel says: more take longer in all, and each of them much longer. It is for TestMain.
func Sparing() error {
	flag.Parse()
	return flag.Set("test.parallel", strconv.Itoa(2*runtime.NumCPU()+1))
}
