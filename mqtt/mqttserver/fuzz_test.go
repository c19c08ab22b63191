package mqttserver_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/quartet-mq/quartet/internal/netio"
	"github.com/quartet-mq/quartet/mqtt"
	"github.com/quartet-mq/quartet/mqtt/mqttserver"
)

// FuzzInput sends any bytes after a CONNECT, in two pieces, and expects that the server survives and serves another
// client.
func FuzzInput(f *testing.F) {
	for _, v := range versions {
		var b []byte
		for _, pk := range []mqtt.Packet{
			&mqtt.Subscribe{ID: 1, Filters: []mqtt.Subscription{{Filter: "t/#", QoS: 2}}},
			publishTo("t/1", "x", 1, 8), publishTo("t/2", "x", 2, 9), &mqtt.Pubrel{ID: 9}, &mqtt.Puback{ID: 1},
			&mqtt.Pubrec{ID: 2}, &mqtt.Pubcomp{ID: 2}, &mqtt.Unsubscribe{ID: 2, Filters: []string{"t/#"}},
			&mqtt.Pingreq{}, &mqtt.Disconnect{},
		} {
			b, _ = mqtt.Append(b, pk, v)
		}
		f.Add(byte(v), b, 7)
	}
	f.Fuzz(func(t *testing.T, v byte, b []byte, cut int) {
		bubble(t, nil, nil, func(w *world) {
			p := w.client(&mqtt.Connect{ClientID: "c", Version: versions[int(v)%3]})
			cut := min(max(cut, 0), len(b))
			p.nc.Write(b[:cut])
			p.nc.Write(b[cut:])
			p.nc.Close()
			other := w.client(&mqtt.Connect{ClientID: "d"})
			other.send(&mqtt.Pingreq{})
			other.expect(&mqtt.Pingresp{})
		})
	})
}

// FuzzStreams feeds several streams and datagrams of a connection with any bytes: each step takes a byte that says where and
// what, a length, and that many bytes. The server survives and serves another client.
func FuzzStreams(f *testing.F) {
	var seed []byte
	step := func(stream byte, packets ...mqtt.Packet) {
		var b []byte
		for _, p := range packets {
			b, _ = mqtt.AppendIllegal(b, p, mqtt.Version5)
		}
		seed = append(append(seed, stream, byte(len(b))), b...)
	}
	step(1, subscribe(1, "t", 2), publishTo("t", "x", 1, 2))
	step(2, publishTo("t", "y", 2, 2), publishTo("t", "z", 2, 3), &mqtt.Pubrel{ID: 2})
	step(1, &mqtt.Puback{ID: 1}, &mqtt.Pubrec{ID: 2})
	step(1 | 1<<3)
	step(3, publishTo("t", "y", 2, 3), publishTo("t", "x", 1, 2))
	step(2|2<<3, &mqtt.Pubcomp{ID: 2})
	step(0, &mqtt.Pingreq{}, &mqtt.Pubrel{ID: 3}, &mqtt.Unsubscribe{ID: 2, Filters: []string{"t"}})
	step(4<<3, publishTo("t", "d", 0, 0))
	for how := range byte(8) {
		f.Add(how, seed)
	}
	f.Fuzz(func(t *testing.T, how byte, b []byte) {
		m := &muxed{late: how&4 != 0}
		muxWorld(t, m, nil, &mqttserver.ListenerOptions{Datagrams: true}, func(w *world) {
			var props mqtt.Properties
			if how&1 != 0 {
				props = keep("quartet-streams", "keep")
			}
			if how&2 != 0 {
				props = props.AppendUser("quartet-datagrams", "1")
			}
			p := w.client(&mqtt.Connect{ClientID: "c", Properties: props})
			var streams [8]*peer
			streams[0] = p
			for len(b) > 1 {
				n, op, size := b[0]&7, b[0]>>3, min(int(b[1]), len(b)-2)
				part := b[2 : 2+size]
				b = b[2+size:]
				if streams[n] == nil {
					s, err := p.nc.(netio.Streams).OpenStream(context.Background())
					if err != nil {
						break
					}
					streams[n] = newPeer(w.t, streamConn{s, p.nc})
				}
				d := streams[n]
				switch {
				case op == 4:
					p.nc.(netio.Streams).SendDatagram(part)
				case op == 3:
					synctest.Wait()
				default:
					d.nc.Write(part)
				}
				switch {
				case n == 0:
				case op == 1:
					d.reset()
					streams[n] = nil
				case op == 2:
					d.closeWrite()
				}
			}
			synctest.Wait()
			m.mu.Lock()
			acks := m.acks
			m.mu.Unlock()
			for _, a := range acks {
				a.Done(nil, mqtt.ReasonSuccess, nil)
			}
			p.nc.Close()
			other := w.client(&mqtt.Connect{ClientID: "d"})
			other.send(&mqtt.Pingreq{})
			other.expect(&mqtt.Pingresp{})
		})
	})
}
