package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// safeBuffer is a buffer that a running command writes to.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.buffer.Write(data)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.buffer.String()
}

// writeNodes writes a nodes file.
func writeNodes(t *testing.T, path string, addresses ...string) {
	t.Helper()

	data := `[{"address":"` + strings.Join(addresses, `"},{"address":"`) + `"}]`
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestServe(t *testing.T) {
	addresses := testAddresses(2)
	dir := filepath.Join(t.TempDir(), "state")
	nodes := filepath.Join(t.TempDir(), "nodes.json")
	args := []string{"serve", "--state", dir, "--nodes", nodes}

	writeNodes(t, nodes, addresses[0])

	var stdout, stderr safeBuffer

	exit := make(chan int, 1)

	go func() { exit <- run(args, &stdout, &stderr) }()

	eventually(t, "it is ready", func() error {
		_, err := os.Stat(filepath.Join(dir, "ready"))

		return err
	})

	if got := stdout.String(); got != "simulated nodes ready: 1\n" {
		t.Errorf("got output %q", got)
	}

	if pid, err := os.ReadFile(filepath.Join(dir, "pid")); err != nil || string(pid) != fmt.Sprintf("%d\n", os.Getpid()) {
		t.Errorf("got pid file %q and error %v", pid, err)
	}

	var complaint safeBuffer
	if code := run(args, io.Discard, &complaint); code != 1 || !strings.Contains(complaint.String(), "in use by another talos-simulator") {
		t.Errorf("a second process: got exit code %d and %q", code, complaint.String())
	}

	waitMaintenance(t, addresses[0])
	writeNodes(t, nodes, addresses[1])
	signalSelf(t, syscall.SIGHUP)
	waitMaintenance(t, addresses[1])

	if conn, err := net.Dial("tcp", addresses[0]+":50000"); err == nil {
		conn.Close() //nolint:errcheck // should not be there
		t.Error("the removed node still answers")
	}

	signalSelf(t, syscall.SIGTERM)

	select {
	case code := <-exit:
		if code != 0 {
			t.Errorf("got exit code %d: %s", code, stderr.String())
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not stop")
	}

	if _, err := os.Stat(filepath.Join(dir, "ready")); err == nil {
		t.Error("the file \"ready\" stayed")
	}

	for _, secret := range []string{"BEGIN", "key:"} {
		if strings.Contains(stderr.String(), secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
}

func signalSelf(t *testing.T, signal syscall.Signal) {
	t.Helper()

	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		t.Fatal(err)
	}
}

func TestServeFails(t *testing.T) {
	taken := testAddresses(1)[0]

	listener, err := net.Listen("tcp", taken+":50000")
	if err != nil {
		t.Fatal(err)
	}

	defer listener.Close() //nolint:errcheck // the test is over

	nodes := filepath.Join(t.TempDir(), "nodes.json")
	writeNodes(t, nodes, taken)

	for _, test := range []struct {
		name, want string
		args       []string
		code       int
	}{
		{"no command", "Usage", nil, 2},
		{"no state", "Usage", []string{"serve", "--nodes", nodes}, 2},
		{"no such file", "no such file", []string{"serve", "--state", t.TempDir(), "--nodes", nodes + "x"}, 1},
		{"negative delay", "negative", []string{"serve", "--state", t.TempDir(), "--nodes", nodes, "--etcd-delay", "-1s"}, 1},
		{"taken port", taken + ":50000 is taken", []string{"serve", "--state", t.TempDir(), "--nodes", nodes}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr safeBuffer

			start := time.Now()
			if code := run(test.args, io.Discard, &stderr); code != test.code || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("got exit code %d and %q", code, stderr.String())
			}

			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
