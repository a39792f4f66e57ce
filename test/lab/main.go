package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Main is all of a TestMain: run gets a directory for what the tests share, which is
// removed afterwards, and says how the process ends. An error is printed, and is a failure.
func Main(run func(dir string) (code int, err error)) {
	code, err := inDirectory(run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func inDirectory(run func(dir string) (int, error)) (code int, err error) {
	dir, err := os.MkdirTemp("", "rtcdlab-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return run(dir)
}

// Build builds rtcd from the module in the directory source, and returns where the program
// is: in dir.
func Build(source, dir string) (program string, err error) {
	program = filepath.Join(dir, "rtcd")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", program, "./cmd/rtcd")
	cmd.Dir = source
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/rtcd: %w\n%s", err, out)
	}
	return program, nil
}
