// Command perturb runs go test with the race detector and with a package sync whose mutexes yield at random, before and after
// they are locked and after they are unlocked, for what shows on a busy machine only by chance:
//
//	go run ./internal/perturb -count 5 -cpu 2,4,8 ./amqp/amqpbroker
//
// The arguments are those of go test. Tests that count allocations may fail, for buffers are handed over at other times.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

func main() {
	err := run(os.Args[1:])
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "perturb:", err)
		os.Exit(2)
	}
}

func run(args []string) error {
	std, err := source()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "perturb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := perturbed(std)
	if err != nil {
		return err
	}
	var overlay struct{ Replace map[string]string }
	overlay.Replace = make(map[string]string)
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		overlay.Replace[filepath.Join(std, name)] = path
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, raw, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("go", append([]string{"test", "-race", "-overlay", list, "-ldflags=-checklinkname=0", "-shuffle=on"}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}
