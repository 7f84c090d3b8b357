package main

import (
	"strings"
	"testing"
)

func TestParseInventory(t *testing.T) {
	for _, test := range []struct {
		name, data, wantErr string
		wantNodes           int
	}{
		{name: "empty", data: `[]`},
		{name: "address only", data: `[{"address":"127.0.10.11"}]`, wantNodes: 1},
		{name: "all fields", data: `[{"address":"127.0.10.11","mac":"52:54:00:00:00:11","uuid":"0b5a9c0e-3c5b-4c49-8d1c-0f5a3b2c1d00"}]`, wantNodes: 1},
		{name: "not JSON", data: `address: 127.0.0.1`, wantErr: "invalid character"},
		{name: "two values", data: `[] []`, wantErr: "more than one"},
		{name: "unknown field", data: `[{"address":"127.0.0.1","role":"worker"}]`, wantErr: "unknown field"},
		{name: "no address", data: `[{}]`, wantErr: "not an IP address"},
		{name: "private network", data: `[{"address":"10.0.0.1"}]`, wantErr: "outside of 127.0.0.0/8"},
		{name: "all interfaces", data: `[{"address":"0.0.0.0"}]`, wantErr: "outside of 127.0.0.0/8"},
		{name: "IPv6", data: `[{"address":"::1"}]`, wantErr: "outside of 127.0.0.0/8"},
		{name: "mapped", data: `[{"address":"::ffff:127.0.0.1"}]`, wantErr: "outside of 127.0.0.0/8"},
		{name: "with port", data: `[{"address":"127.0.0.1:50000"}]`, wantErr: "not an IP address"},
		{name: "twice", data: `[{"address":"127.0.0.1"},{"address":"127.0.0.1"}]`, wantErr: "listed twice"},
		{name: "bad MAC", data: `[{"address":"127.0.0.1","mac":"52:54"}]`, wantErr: "not a MAC address"},
		{name: "bad UUID", data: `[{"address":"127.0.0.1","uuid":"7"}]`, wantErr: "not a UUID"},
	} {
		t.Run(test.name, func(t *testing.T) {
			specs, err := parseInventory([]byte(test.data))
			if test.wantErr == "" && err != nil {
				t.Fatal(err)
			}

			if test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)) {
				t.Fatalf("got error %v, want one with %q", err, test.wantErr)
			}

			if len(specs) != test.wantNodes {
				t.Errorf("got %d nodes, want %d", len(specs), test.wantNodes)
			}
		})
	}
}

func TestDefaultsAreStable(t *testing.T) {
	first, err := parseInventory([]byte(`[{"address":"127.0.10.11"},{"address":"127.0.10.12"}]`))
	if err != nil {
		t.Fatal(err)
	}

	second, err := parseInventory([]byte(`[{"address":"127.0.10.11"}]`))
	if err != nil {
		t.Fatal(err)
	}

	if first[0].mac.String() != second[0].mac.String() || first[0].uuid != second[0].uuid {
		t.Error("MAC or UUID of an address changed")
	}

	if first[0].mac.String() == first[1].mac.String() || first[0].uuid == first[1].uuid {
		t.Error("two addresses have the same MAC or UUID")
	}
}
