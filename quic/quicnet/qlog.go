package quicnet

import (
	"context"
	"fmt"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlogwriter"
)

// tracer returns what quic-go records a connection with, or nil.
func (c *Config) tracer() func(context.Context, bool, quic.ConnectionID) qlogwriter.Trace {
	if c.Qlog == nil {
		return nil
	}
	return func(_ context.Context, client bool, id quic.ConnectionID) qlogwriter.Trace {
		w := c.Qlog(QlogInfo{Client: client, ConnectionID: fmt.Sprintf("%x", id.Bytes())})
		if w == nil {
			return nil
		}
		seq := qlogwriter.NewConnectionFileSeq(w, client, id)
		go seq.Run()
		return seq
	}
}
