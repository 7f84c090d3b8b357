package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTableIsWhatThePackageSays(t *testing.T) {
	t.Parallel()

	kept, err := os.ReadFile("../../config/schemas/platforms.json")
	if err != nil {
		t.Fatal(err)
	}

	var printed bytes.Buffer
	if err := printTable(&printed); err != nil {
		t.Fatal(err)
	}

	if !bytes.Equal(kept, printed.Bytes()) {
		t.Errorf("config/schemas/platforms.json is another one; run 'make versions'. It is to be:\n%s", &printed)
	}
}
