package amqp091

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

// TestReceivePieces: what a stream of messages on several channels means does not depend on how it is cut into pieces.
func TestReceivePieces(t *testing.T) {
	for seed := range int64(200) {
		rnd := rand.New(rand.NewSource(seed))
		stream, want := piecesStream(rnd)
		c, _ := openServer(t)
		now := time.Unix(2, 0)
		for id := uint16(2); id <= 4; id++ {
			b, _ := AppendMethod(nil, id, &ChannelOpen{})
			c.Receive(now, b)
			c.channels[id].OpenOK(now)
			drainEvents(c)
		}
		var got []string
		var left []byte
		for len(stream) > 0 {
			n := min(len(stream), 1+rnd.Intn(1<<uint(rnd.Intn(14))))
			left = append(left, stream[:n]...)
			stream = stream[n:]
			for {
				n, err := c.Receive(now, left)
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if rnd.Intn(3) == 0 {
					c.trim() // a heartbeat is due
				}
				for e, ok := c.Next(); ok; e, ok = c.Next() {
					if e.Kind != EventPublish {
						t.Fatalf("seed %d: event %d", seed, e.Kind)
					}
					m := e.Content
					got = append(got, fmt.Sprintf("%d %s %s %x %s", e.ChannelID(), m.Exchange, m.RoutingKey, m.Properties, m.Body))
				}
				rest := append([]byte(nil), left[n:]...)
				clear(left)
				left = rest
				if n == 0 {
					break
				}
			}
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("seed %d:\n%.2000s\nwant\n%.2000s", seed, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// piecesStream returns messages whose frames are mixed, with heartbeats, and what is to come of them.
func piecesStream(rnd *rand.Rand) (stream []byte, want []string) {
	type content struct {
		frames [][]byte
		text   string
	}
	var under [5]content // by channel
	for number := 0; number < 60; {
		id := uint16(1 + rnd.Intn(4))
		u := &under[id]
		if len(u.frames) == 0 {
			number++
			exchange, key := fmt.Sprintf("exchange%d", number), strings.Repeat("k", rnd.Intn(20))
			body := strings.Repeat(fmt.Sprint(number%10), rnd.Intn(1<<uint(rnd.Intn(12))))
			p := Properties{}
			if rnd.Intn(2) == 0 {
				p.MessageID = strings.Repeat("m", 1+rnd.Intn(30))
			}
			props, _ := p.Append(nil)
			method, _ := AppendPublish(nil, id, exchange, key, false)
			u.frames = [][]byte{method, AppendContentHeader(nil, id, uint64(len(body)), props)}
			u.text = fmt.Sprintf("%d %s %s %x %s", id, exchange, key, props, body)
			for len(body) > 0 {
				n := 1 + rnd.Intn(len(body))
				u.frames = append(u.frames, AppendBody(nil, id, []byte(body[:n]), 0))
				body = body[n:]
			}
		}
		for n := 1 + rnd.Intn(len(u.frames)); n > 0; n-- {
			stream = append(stream, u.frames[0]...)
			u.frames = u.frames[1:]
		}
		if len(u.frames) == 0 {
			want = append(want, u.text)
		}
		if rnd.Intn(4) == 0 {
			stream = AppendHeartbeat(stream)
		}
	}
	return stream, want
}
