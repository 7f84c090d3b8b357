package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"slices"
)

// An etcd snapshot is a bbolt database with a checksum behind it, and talosctl
// opens it. This is the smallest one it accepts: two meta pages, an empty list
// of free pages and one page of buckets.
const (
	boltMagic    = 0xED0CDAED
	boltVersion  = 2
	boltPageSize = 4096
	boltPages    = 4

	boltFreeListPage = 2
	boltRootPage     = 3

	boltLeaf     = 0x02
	boltMeta     = 0x04
	boltFreeList = 0x10

	// boltBucket marks an element that is a bucket.
	boltBucket = 0x01

	boltElementSize = 16
)

// boltElement is a key with its value, or a bucket with its contents.
type boltElement struct {
	flags      uint32
	key, value []byte
}

// snapshotFile makes a snapshot whose only content says that it is simulated,
// and the given facts.
func snapshotFile(facts map[string]string) []byte {
	var entries []boltElement

	for _, key := range slices.Sorted(maps.Keys(facts)) {
		entries = append(entries, boltElement{key: []byte(key), value: []byte(facts[key])})
	}

	root := []boltElement{
		{flags: boltBucket, key: []byte("meta"), value: boltInlineBucket(nil)},
		{flags: boltBucket, key: []byte("simulated etcd snapshot"), value: boltInlineBucket(entries)},
	}

	var file bytes.Buffer

	for id, page := range [boltPages][]byte{
		boltPage(0, boltMeta, 0, boltMetaBody(0)),
		boltPage(1, boltMeta, 0, boltMetaBody(1)),
		boltPage(boltFreeListPage, boltFreeList, 0, nil),
		boltPage(boltRootPage, boltLeaf, len(root), boltLeafBody(root)),
	} {
		file.Write(page)
		file.Write(make([]byte, (id+1)*boltPageSize-file.Len()))
	}

	sum := sha256.Sum256(file.Bytes())

	return append(file.Bytes(), sum[:]...)
}

// boltPage puts a header before a page's body.
func boltPage(id uint64, flags uint16, count int, body []byte) []byte {
	page := binary.LittleEndian.AppendUint64(nil, id)
	page = binary.LittleEndian.AppendUint16(page, flags)
	page = binary.LittleEndian.AppendUint16(page, uint16(count))
	page = binary.LittleEndian.AppendUint32(page, 0) // no further pages

	return append(page, body...)
}

// boltMetaBody says where everything is, as of a transaction.
func boltMetaBody(transaction uint64) []byte {
	var body []byte

	for _, value := range []uint32{boltMagic, boltVersion, boltPageSize, 0} {
		body = binary.LittleEndian.AppendUint32(body, value)
	}

	for _, value := range []uint64{boltRootPage, 0, boltFreeListPage, boltPages, transaction} {
		body = binary.LittleEndian.AppendUint64(body, value)
	}

	hash := fnv.New64a()
	hash.Write(body) //nolint:errcheck // never fails

	return binary.LittleEndian.AppendUint64(body, hash.Sum64())
}

// boltLeafBody lists elements, which are sorted by key.
func boltLeafBody(elements []boltElement) []byte {
	var list, data []byte

	for i, element := range elements {
		position := (len(elements)-i)*boltElementSize + len(data)

		for _, value := range []uint32{element.flags, uint32(position), uint32(len(element.key)), uint32(len(element.value))} {
			list = binary.LittleEndian.AppendUint32(list, value)
		}

		data = append(append(data, element.key...), element.value...)
	}

	return append(list, data...)
}

// boltInlineBucket is a bucket small enough to stand where its page number
// would.
func boltInlineBucket(elements []boltElement) []byte {
	header := make([]byte, boltElementSize)

	return append(header, boltPage(0, boltLeaf, len(elements), boltLeafBody(elements))...)
}
