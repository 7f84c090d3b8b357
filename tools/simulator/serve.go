package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
)

// serve runs the fleet until a signal ends it.
func serve(opts options, stdout, stderr io.Writer) error {
	specs, err := loadInventory(opts.nodesFile)
	if err != nil {
		return err
	}

	if err = makeDir(opts.stateDir); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}

	unlock, err := lockState(opts.stateDir)
	if err != nil {
		return err
	}
	defer unlock()

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	defer signal.Stop(signals)

	f, err := newFleet(opts, stderr)
	if err != nil {
		return err
	}
	defer f.close()

	if err = f.reconfigure(specs); err != nil {
		return err
	}

	done := make(chan struct{})
	defer close(done)

	go f.watch(done)

	ready := filepath.Join(opts.stateDir, "ready")
	if err = writeFile(ready, nil); err != nil {
		return err
	}

	defer os.Remove(ready) //nolint:errcheck // the process ends

	fmt.Fprintf(stdout, "simulated nodes ready: %d\n", len(specs))

	for received := range signals {
		if received != syscall.SIGHUP {
			return nil
		}

		f.reload()
	}

	return nil
}

// reload reads the nodes file again; a bad one changes nothing.
func (f *fleet) reload() {
	specs, err := loadInventory(f.nodesFile)
	if err == nil {
		err = f.reconfigure(specs)
	}

	if err != nil {
		f.logf("reload: %v", err)

		return
	}

	f.logf("reload: simulated nodes: %d", len(specs))
}

// lockState makes sure that only one process uses a state directory, and says
// which one in the file "pid".
func lockState(dir string) (unlock func(), err error) {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}

	pidFile := filepath.Join(dir, "pid")

	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close() //nolint:errcheck // nothing was written

		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}

		pid, _ := readOptional(pidFile) //nolint:errcheck // only for the message

		return nil, fmt.Errorf("state directory %s is in use by another talos-simulator (pid %s)", dir, trimmed(pid))
	}

	if err = removeFile(filepath.Join(dir, "ready")); err != nil {
		lock.Close() //nolint:errcheck // the first error counts

		return nil, err
	}

	if err = writeFile(pidFile, []byte(strconv.Itoa(os.Getpid())+"\n")); err != nil {
		lock.Close() //nolint:errcheck // the first error counts

		return nil, err
	}

	return func() {
		os.Remove(pidFile) //nolint:errcheck // the process ends
		lock.Close()       //nolint:errcheck // the process ends
	}, nil
}

// trimmed is a file's first word, or "unknown".
func trimmed(data []byte) string {
	var word string

	if _, err := fmt.Sscan(string(data), &word); err != nil {
		return "unknown"
	}

	return word
}
