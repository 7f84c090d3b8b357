package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestParseFaults(t *testing.T) {
	for _, test := range []struct {
		name, data, wantErr string
	}{
		{"none", `{}`, ""},
		{"all kinds", `{"127.0.0.1": [{"fault":"refuse"},{"fault":"hang","method":"Version","seconds":0.5},
			{"fault":"drop","when":"after","times":2},{"fault":"reject"},{"fault":"slow-reboot","seconds":5},
			{"fault":"wrong-certificate","times":1}]}`, ""},
		{"not JSON", `{`, "unexpected EOF"},
		{"unknown fault", `{"127.0.0.1": [{"fault":"explode"}]}`, `unknown fault "explode"`},
		{"unknown field", `{"127.0.0.1": [{"fault":"hang","time":1}]}`, "unknown field"},
		{"bad address", `{"node1": [{"fault":"hang"}]}`, "not an address"},
		{"null", `{"127.0.0.1": [null]}`, "null"},
		{"method of refuse", `{"127.0.0.1": [{"fault":"refuse","method":"Version"}]}`, "has no method"},
		{"when of hang", `{"127.0.0.1": [{"fault":"hang","when":"after"}]}`, `has no "when"`},
		{"bad when", `{"127.0.0.1": [{"fault":"drop","when":"later"}]}`, `"before" or "after"`},
		{"negative", `{"127.0.0.1": [{"fault":"drop","times":-1}]}`, "must not be negative"},
		{"slow reboot without time", `{"127.0.0.1": [{"fault":"slow-reboot"}]}`, `needs "seconds"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := parseFaults([]byte(test.data))
			if test.wantErr == "" && err != nil || test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Errorf("got error %v, want %q", err, test.wantErr)
			}
		})
	}
}

func TestFaultsAreUsedUp(t *testing.T) {
	dir := t.TempDir()
	address := netip.MustParseAddr("127.0.0.1")
	quiet := func(string, ...any) {}

	writeFaults(t, dir, map[string][]map[string]any{"127.0.0.1": {{"fault": "reject", "times": 2}}})

	open := func() *faultBook {
		book, err := openFaultBook(dir, quiet)
		if err != nil {
			t.Fatal(err)
		}

		return book
	}

	rejects := func(book *faultBook) bool { return book.forCall(address, "ApplyConfiguration").reject }

	if book := open(); !rejects(book) || book.forCall(address, "Version").reject {
		t.Error("the fault is not that of ApplyConfiguration")
	}

	if book := open(); !rejects(book) || rejects(book) {
		t.Error("the count did not survive the process")
	}

	time.Sleep(10 * time.Millisecond)
	writeFaults(t, dir, map[string][]map[string]any{"127.0.0.1": {{"fault": "reject", "times": 2}}})

	if book := open(); !rejects(book) {
		t.Error("a new file did not start a new count")
	}
}

func TestMalformedFaultsAreReported(t *testing.T) {
	dir := t.TempDir()

	var lines []string

	book, err := openFaultBook(dir, func(format string, _ ...any) { lines = append(lines, format) })
	if err != nil {
		t.Fatal(err)
	}

	if err = os.WriteFile(filepath.Join(dir, "faults.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}

	book.forCall(netip.MustParseAddr("127.0.0.1"), "Version")
	book.forCall(netip.MustParseAddr("127.0.0.1"), "Version")

	if len(lines) != 1 {
		t.Errorf("got %d reports, want one", len(lines))
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()

	address := testAddresses(1)[0]
	dir := t.TempDir()
	f := startFleet(t, dir, []string{address})
	c := newCluster(t, "demo", address)

	set := func(faults ...map[string]any) {
		writeFaults(t, dir, map[string][]map[string]any{address: faults})
		time.Sleep(3 * watchInterval)
	}

	set(map[string]any{"fault": "reject", "times": 1})

	ctx, cl := insecure(t, address)
	_, err := apply(ctx, cl, c.controlPlane, modeAuto)
	wantCode(t, "reject", err, codes.InvalidArgument, "simulated rejection")

	set(map[string]any{"fault": "drop", "method": "ApplyConfiguration", "times": 1})

	_, err = apply(ctx, cl, c.controlPlane, modeAuto)
	wantCode(t, "drop before", err, codes.Unavailable, "")

	if nodeAt(f, address).configured() {
		t.Error("the call took effect")
	}

	set(map[string]any{"fault": "drop", "method": "ApplyConfiguration", "when": "after", "times": 1})

	ctx, cl = insecure(t, address)
	_, err = apply(ctx, cl, c.controlPlane, modeAuto)
	wantCode(t, "drop after", err, codes.Unavailable, "")

	c.waitSecure(address)

	set(map[string]any{"fault": "hang", "method": "Version", "seconds": 0.3, "times": 1})

	ctx, cl = c.admin(address)
	if start := time.Now(); callVersion(ctx, cl) != nil || time.Since(start) < 300*time.Millisecond {
		t.Error("the call did not hang, or failed")
	}

	set(map[string]any{"fault": "wrong-certificate"})

	ctx, cl = c.admin(address)
	wantCode(t, "wrong certificate", callVersion(ctx, cl), codes.Unavailable, "unknown authority")

	set(map[string]any{"fault": "refuse"})

	ctx, cl = c.admin(address)
	wantCode(t, "refuse", callVersion(ctx, cl), codes.Unavailable, "connection refused")

	set(map[string]any{"fault": "slow-reboot", "seconds": 0.6, "times": 1})
	c.waitSecure(address)

	ctx, cl = c.admin(address)
	if err = cl.Reboot(ctx); err != nil {
		t.Fatal(err)
	}

	time.Sleep(sequenceDelay + 300*time.Millisecond)

	ctx, cl = c.admin(address)
	wantCode(t, "slow reboot", callVersion(ctx, cl), codes.Unavailable, "connection refused")
	c.waitSecure(address)
}
