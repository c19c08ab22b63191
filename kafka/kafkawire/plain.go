package kafkawire

import "encoding/binary"

func (c *coder) int8Array(p *[]int8, null bool)   { array8(c, p, null, nil) }
func (c *coder) int16Array(p *[]int16, null bool) { array16(c, p, null, nil) }
func (c *coder) int32Array(p *[]int32, null bool) { array32(c, p, null, &c.numbers) }

func (c *coder) brokerIDArray(p *[]BrokerID, null bool)     { array32(c, p, null, &c.replicas) }
func (c *coder) producerIDArray(p *[]ProducerID, null bool) { array64(c, p, null, nil) }

func (c *coder) stringArray(p *[]string, null bool)       { arrayText(c, p, null, &c.strings) }
func (c *coder) topicNameArray(p *[]TopicName, null bool) { arrayText(c, p, null, &c.topics) }
func (c *coder) groupIDArray(p *[]GroupID, null bool)     { arrayText(c, p, null, nil) }
func (c *coder) transactionalIDArray(p *[]TransactionalID, null bool) {
	arrayText(c, p, null, nil)
}

// plain codes the number of plain values, which take at least size bytes each, and decoding makes room for them.
func plain[T any](c *coder, p *[]T, null bool, s *slab[T], size int) {
	n := len(*p)
	if null {
		n = c.nullArray(n, *p == nil, size)
	} else {
		n = c.array(n, size)
	}
	if !c.decoding {
		return
	}
	*p = s.take(c, n, size)
	if n > 0 {
		c.depth-- // nothing comes between the values
	}
}

func array8[T ~int8](c *coder, p *[]T, null bool, s *slab[T]) {
	plain(c, p, null, s, 1)
	if !c.decoding {
		for _, v := range *p {
			c.out = append(c.out, byte(v))
		}
		return
	}
	for i, v := range c.r.Bytes(len(*p)) {
		(*p)[i] = T(v)
	}
}

func array16[T ~int16](c *coder, p *[]T, null bool, s *slab[T]) {
	plain(c, p, null, s, 2)
	list := *p
	if !c.decoding {
		out := c.out
		for _, v := range list {
			out = binary.BigEndian.AppendUint16(out, uint16(v))
		}
		c.out = out
		return
	}
	if b := c.r.Bytes(2 * len(list)); len(b) == 2*len(list) {
		for i := range list {
			list[i] = T(binary.BigEndian.Uint16(b[2*i:]))
		}
	}
}

func array32[T ~int32](c *coder, p *[]T, null bool, s *slab[T]) {
	plain(c, p, null, s, 4)
	list := *p
	if !c.decoding {
		out := c.out
		for _, v := range list {
			out = binary.BigEndian.AppendUint32(out, uint32(v))
		}
		c.out = out
		return
	}
	if b := c.r.Bytes(4 * len(list)); len(b) == 4*len(list) {
		for i := range list {
			list[i] = T(binary.BigEndian.Uint32(b[4*i:]))
		}
	}
}

func array64[T ~int64](c *coder, p *[]T, null bool, s *slab[T]) {
	plain(c, p, null, s, 8)
	list := *p
	if !c.decoding {
		out := c.out
		for _, v := range list {
			out = binary.BigEndian.AppendUint64(out, uint64(v))
		}
		c.out = out
		return
	}
	if b := c.r.Bytes(8 * len(list)); len(b) == 8*len(list) {
		for i := range list {
			list[i] = T(binary.BigEndian.Uint64(b[8*i:]))
		}
	}
}

func arrayText[T ~string](c *coder, p *[]T, null bool, s *slab[T]) {
	plain(c, p, null, s, 1)
	for i := range *p {
		text := string((*p)[i])
		c.string(&text)
		if c.decoding {
			(*p)[i] = T(text)
		}
	}
}
