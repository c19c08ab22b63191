package quicnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/quic-go/quic-go"
)

// TestErrors translates the errors of quic-go. None of its types is left.
func TestErrors(t *testing.T) {
	reason := errors.New("reason")
	for _, c := range []struct {
		in                     error
		want                   Error
		timeout, closed, reset bool
	}{
		{&quic.ApplicationError{ErrorCode: 9, Remote: true, ErrorMessage: "x"}, Error{Kind: KindApplication, Code: 9, Remote: true, Reason: "x"}, false, true, true},
		{&quic.ApplicationError{Remote: true}, Error{Kind: KindApplication, Remote: true}, false, true, false},
		{&quic.ApplicationError{ErrorCode: 9}, Error{Kind: KindApplication, Code: 9}, false, true, false},
		{&quic.TransportError{ErrorCode: quic.ConnectionRefused, Remote: true}, Error{Kind: KindTransport, Code: 2, Remote: true}, false, true, true},
		{&quic.TransportError{ErrorCode: 0x100 + 42, Remote: true}, Error{Kind: KindTLS, Code: 42, Remote: true}, false, true, true},
		{&quic.TransportError{ErrorCode: quic.FlowControlError}, Error{Kind: KindTransport, Code: 3}, false, true, false},
		{&quic.StreamError{StreamID: 8, ErrorCode: 7, Remote: true}, Error{Kind: KindStream, Code: 7, Stream: 8, Remote: true}, false, false, true},
		{&quic.StreamError{StreamID: 8, ErrorCode: 7}, Error{Kind: KindStream, Code: 7, Stream: 8}, false, false, false},
		{&quic.IdleTimeoutError{}, Error{Kind: KindIdle}, true, true, false},
		{&quic.HandshakeTimeoutError{}, Error{Kind: KindHandshake}, true, true, false},
		{&quic.StatelessResetError{}, Error{Kind: KindReset, Remote: true}, false, true, true},
		{&quic.VersionNegotiationError{}, Error{Kind: KindVersion}, false, true, false},
		{quic.Err0RTTRejected, Error{Kind: KindEarly, Remote: true}, false, false, false},
	} {
		for _, in := range []error{c.in, fmt.Errorf("wrapped: %w", c.in)} {
			got := errOf(in)
			e, ok := got.(*Error)
			if !ok || *e != c.want {
				t.Errorf("%v: %#v", in, got)
				continue
			}
			var n net.Error
			if !errors.As(got, &n) || n.Timeout() != c.timeout || errors.Is(got, net.ErrClosed) != c.closed || errors.Is(got, syscall.ECONNRESET) != c.reset {
				t.Errorf("%v: timeout %v, closed %v, reset %v", got, n.Timeout(), errors.Is(got, net.ErrClosed), errors.Is(got, syscall.ECONNRESET))
			}
			if !strings.HasPrefix(got.Error(), "quic: "+e.Kind.String()) {
				t.Error(got)
			}
		}
	}
	for in, want := range map[error]error{
		nil: nil, io.EOF: io.EOF, context.Canceled: context.Canceled, context.DeadlineExceeded: context.DeadlineExceeded,
		quic.ErrTransportClosed: net.ErrClosed, quic.ErrServerClosed: net.ErrClosed, reason: reason,
		fmt.Errorf("late: %w", os.ErrDeadlineExceeded): os.ErrDeadlineExceeded,
	} {
		if got := errOf(in); got != want {
			t.Errorf("%v: %v", in, got)
		}
	}
	if got := Kind(77).String(); got != "Kind(77)" {
		t.Error(got)
	}
}
