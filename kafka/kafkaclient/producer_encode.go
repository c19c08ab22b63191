package kafkaclient

import (
	"encoding/binary"

	"github.com/quartet-mq/quartet/codec"
	"github.com/quartet-mq/quartet/codec/compress"
	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// smallBatch is the size up to which copying a batch into the request costs less than another piece to write.
const smallBatch = 2 << 10

// choose chooses the version.
func (r *produceRequest) choose() error {
	p := r.s.p
	limit := int16(-1)
	if p.txn != nil && !p.txn.implicit() {
		limit = 11 // from 12 on it adds partitions to the transaction
	}
	for _, it := range r.items {
		if it.id.IsZero() && limit < 0 {
			limit = 12 // from 13 on topics have no name
		}
	}
	version, ok := r.k.versions.pick(kafkawire.KeyProduce, limit)
	if !ok || p.o.Compression == compress.Zstd && version < 7 {
		return unsupported(kafkawire.KeyProduce)
	}
	if p.txn != nil && p.txn.implicit() && version < 12 { // it would add no partition
		return unsupported(kafkawire.KeyProduce)
	}
	r.version = version
	return nil
}

// encode makes the chunks of the request: small pieces go into head, large batches stay where they are.
func (r *produceRequest) encode() {
	p := r.s.p
	v := r.version
	flexible := v >= 9
	h := append(r.head[:0], 0, 0, 0, 0) // size
	h = binary.BigEndian.AppendUint16(h, uint16(kafkawire.KeyProduce))
	h = binary.BigEndian.AppendUint16(h, uint16(v))
	h = append(h, 0, 0, 0, 0) // correlation
	h = binary.BigEndian.AppendUint16(h, uint16(len(p.c.o.ClientID)))
	h = append(h, p.c.o.ClientID...)
	if flexible {
		h = append(h, 0)
	}
	switch id := p.o.TransactionalID; {
	case flexible && id == "":
		h = append(h, 0)
	case flexible:
		h = append(codec.AppendUvarint32(h, uint32(len(id))+1), id...)
	case id == "":
		h = append(h, 0xff, 0xff)
	default:
		h = append(binary.BigEndian.AppendUint16(h, uint16(len(id))), id...)
	}
	h = binary.BigEndian.AppendUint16(h, uint16(p.o.Acks.wire()))
	h = binary.BigEndian.AppendUint32(h, uint32(p.c.o.RequestTimeout.Milliseconds()))
	topics := 0
	for i := range r.items {
		if i == 0 || r.items[i].part.t != r.items[i-1].part.t {
			topics++
		}
	}
	h = appendCount(h, topics, flexible)
	total := 0
	for i := 0; i < len(r.items); {
		t := r.items[i].part.t
		n := 1
		for i+n < len(r.items) && r.items[i+n].part.t == t {
			n++
		}
		switch {
		case v >= 13:
			h = append(h, r.items[i].id[:]...)
		case flexible:
			h = append(codec.AppendUvarint32(h, uint32(len(t.name))+1), t.name...)
		default:
			h = append(binary.BigEndian.AppendUint16(h, uint16(len(t.name))), t.name...)
		}
		for j := range r.items[i : i+n] {
			r.items[i+j].id = r.items[i].id
		}
		h = appendCount(h, n, flexible)
		for _, it := range r.items[i : i+n] {
			b := it.b.wire()
			h = binary.BigEndian.AppendUint32(h, uint32(it.part.index))
			if flexible {
				h = codec.AppendUvarint32(h, uint32(len(b))+1)
			} else {
				h = binary.BigEndian.AppendUint32(h, uint32(len(b)))
			}
			if len(b) <= smallBatch {
				h = append(h, b...)
			} else {
				r.cuts = append(r.cuts, len(h))
				r.large = append(r.large, b)
				total += len(b)
			}
			if flexible {
				h = append(h, 0)
			}
		}
		if flexible {
			h = append(h, 0)
		}
		i += n
	}
	if flexible {
		h = append(h, 0)
	}
	r.head = h
	binary.BigEndian.PutUint32(h, uint32(len(h)+total-4))
	at := 0
	for i, cut := range r.cuts {
		r.chunks = append(r.chunks, h[at:cut], r.large[i])
		at = cut
	}
	if at < len(h) {
		r.chunks = append(r.chunks, h[at:])
	}
}

func appendCount(b []byte, n int, flexible bool) []byte {
	if flexible {
		return codec.AppendUvarint32(b, uint32(n)+1)
	}
	return binary.BigEndian.AppendUint32(b, uint32(n))
}
