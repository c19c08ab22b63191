package quicnet

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The file of one item:
//
//	magic    8 bytes   "QRTRESUM"
//	version  1 byte    1
//	kind     1 byte    ItemKind
//	time     8 bytes   when it was put, in milliseconds since 1970
//	origin   2 bytes length, then the origin
//	item     4 bytes length, then the item
//	sum     32 bytes   SHA-256 of all before
//
// Numbers are big endian.
const (
	itemMagic   = "QRTRESUM"
	itemVersion = 1
	itemHead    = len(itemMagic) + 1 + 1 + 8
	maxOrigin   = 1 << 10
	maxItemFile = itemHead + 2 + maxOrigin + 4 + maxItem + sha256.Size
)

// errItemVersion is the error for a file of a later version, which is left alone.
var errItemVersion = errors.New("quicnet: a stored item of a later version")

// appendItem appends the file of an item.
func appendItem(dst []byte, i storedItem) []byte {
	from := len(dst)
	dst = append(dst, itemMagic...)
	dst = append(dst, itemVersion, byte(i.kind))
	dst = binary.BigEndian.AppendUint64(dst, uint64(i.at.UnixMilli()))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(i.origin)))
	dst = append(dst, i.origin...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(i.data)))
	dst = append(dst, i.data...)
	sum := sha256.Sum256(dst[from:])
	return append(dst, sum[:]...)
}

// parseItem reads the file of an item. The data aliases b.
func parseItem(b []byte) (i storedItem, err error) {
	bad := func(what string) (storedItem, error) {
		return storedItem{}, fmt.Errorf("quicnet: a damaged stored item: %s", what)
	}
	if len(b) < itemHead || string(b[:len(itemMagic)]) != itemMagic {
		return bad("magic")
	}
	if b[8] > itemVersion {
		return storedItem{}, errItemVersion
	}
	if b[8] != itemVersion {
		return bad("version")
	}
	if len(b) > maxItemFile || len(b) < itemHead+2+4+sha256.Size {
		return bad("length")
	}
	body := b[:len(b)-sha256.Size]
	if sha256.Sum256(body) != [sha256.Size]byte(b[len(body):]) {
		return bad("checksum")
	}
	i.kind = ItemKind(b[9])
	i.at = time.UnixMilli(int64(binary.BigEndian.Uint64(b[10:])))
	body = body[itemHead:]
	n := int(binary.BigEndian.Uint16(body))
	if n > maxOrigin || len(body) < 2+n+4 {
		return bad("origin")
	}
	i.origin, body = string(body[2:2+n]), body[2+n:]
	if m := binary.BigEndian.Uint32(body); m > maxItem || int(m) != len(body)-4 {
		return bad("item")
	}
	i.data = body[4:]
	return i, nil
}
