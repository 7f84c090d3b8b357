// Command secrets prints which fields of each document Talos itself redacts, as JSON, by filling all
// fields of a document and asking Talos's own package to hide what is secret. It is compiled in the
// module of a pinned talosctl, and what it prints is kept for tests/unit/test_secret_fields.py:
//
//	cd tools/talosctl/1.14 && go run ../../versions/secrets/main.go KIND...
//
// A document that has to have more than a kind (VethConfig) is left out, which is said.
package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/siderolabs/talos/pkg/machinery/config/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configloader"
)

const (
	filled   = "filled"
	redacted = "redacted"
	deepest  = 24
)

func main() {
	found := map[string][]string{}

	for _, kind := range append([]string{""}, os.Args[1:]...) {
		fields, err := secretFields(kind)
		if err != nil {
			fmt.Fprintf(os.Stderr, "left out: %s: %v\n", kind, err)
		}

		if len(fields) > 0 {
			found[kind] = fields
		}
	}

	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")

	if err := encoder.Encode(found); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// secretFields are the ways to the fields of a kind that are redacted, * for an item of a list.
func secretFields(kind string) ([]string, error) {
	text := "version: v1alpha1\nmachine: {}\ncluster: {}\n"
	if kind != "" {
		text = fmt.Sprintf("apiVersion: v1alpha1\nkind: %s\n", kind)
	}

	provider, err := configloader.NewFromBytes([]byte(text))
	if err != nil {
		return nil, err
	}

	document := provider.Documents()[0].Clone()

	secret, ok := document.(config.SecretDocument)
	if !ok {
		return nil, nil
	}

	fill(reflect.ValueOf(document), 0)
	secret.Redact(redacted)

	var fields []string

	look(reflect.ValueOf(document), nil, 0, func(way []string) {
		fields = append(fields, strings.Join(way, "."))
	})

	slices.Sort(fields)

	return slices.Compact(fields), nil
}

// fill gives each field a value; what is of free form has a secret of Kubernetes's in it.
func fill(value reflect.Value, depth int) {
	if depth > deepest || (!value.CanSet() && value.Kind() != reflect.Pointer) {
		return
	}

	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() && value.CanSet() {
			value.Set(reflect.New(value.Type().Elem()))
		}

		if !value.CanInterface() || value.IsNil() {
			return
		}

		if address, ok := value.Interface().(*url.URL); ok {
			*address = url.URL{Scheme: "https", Host: "host", RawQuery: "jointoken=" + filled}

			return
		}

		fill(value.Elem(), depth+1)
	case reflect.Struct:
		for index := range value.NumField() {
			fill(value.Field(index), depth+1)
		}
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			value.SetBytes([]byte(filled))

			return
		}

		value.Set(reflect.MakeSlice(value.Type(), 1, 1))
		fill(value.Index(0), depth+1)
	case reflect.Map:
		fillMap(value, depth)
	case reflect.String:
		value.SetString(filled)
	}
}

func fillMap(value reflect.Value, depth int) {
	if value.Type().Key().Kind() != reflect.String {
		return
	}

	value.Set(reflect.MakeMap(value.Type()))

	if value.Type().Elem().Kind() == reflect.Interface {
		for _, key := range []string{"secret", "other"} {
			value.SetMapIndex(reflect.ValueOf(key), reflect.ValueOf(filled))
		}

		return
	}

	item := reflect.New(value.Type().Elem()).Elem()
	fill(item, depth+1)
	value.SetMapIndex(reflect.ValueOf("key").Convert(value.Type().Key()), item)
}

// look finds what was redacted.
func look(value reflect.Value, way []string, depth int, found func([]string)) {
	if depth > deepest {
		return
	}

	switch value.Kind() {
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() {
			return
		}

		if address, ok := value.Interface().(*url.URL); ok {
			if strings.Contains(address.RawQuery, redacted) {
				found(append(way, "?jointoken"))
			}

			return
		}

		look(value.Elem(), way, depth+1, found)
	case reflect.Struct:
		for index := range value.NumField() {
			if field := value.Type().Field(index); field.IsExported() {
				look(value.Field(index), append(slices.Clone(way), names(field)...), depth+1, found)
			}
		}
	case reflect.Slice:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			if string(value.Bytes()) == redacted {
				found(way)
			}

			return
		}

		for index := range value.Len() {
			look(value.Index(index), append(slices.Clone(way), "*"), depth+1, found)
		}
	case reflect.Map:
		for _, key := range value.MapKeys() {
			look(value.MapIndex(key), append(slices.Clone(way), key.String()), depth+1, found)
		}
	case reflect.String:
		if value.String() == redacted {
			found(way)
		}
	}
}

// names is how a field is called in YAML; nothing for one that is inlined.
func names(field reflect.StructField) []string {
	name, options, tagged := strings.Cut(field.Tag.Get("yaml"), ",")
	if name != "" && name != "-" {
		return []string{name}
	}

	if tagged && strings.Contains(options, "inline") || field.Tag.Get("yaml") == "" {
		return nil
	}

	return []string{field.Name}
}
