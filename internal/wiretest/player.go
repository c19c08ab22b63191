package wiretest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quartet-mq/quartet/codec"
)

// Patience is how long a test waits for the other end.
const Patience = 5 * time.Second

// history is how many units a failure shows.
const history = 12

// Player is one end of a connection that a test plays by hand. What goes wrong fails the test at once, with the units before
// in the message. It is for the test's goroutine only.
type Player struct {
	// TB is the test.
	TB testing.TB
	// Conn is the connection.
	Conn net.Conn
	// In is what has come and was not looked at.
	In codec.Buffer

	unit string // what a unit is called
	log  []string
}

// NewPlayer returns a player, who takes units of at most max bytes. The conn is closed with the test.
func NewPlayer(tb testing.TB, conn net.Conn, unit string, max int) *Player {
	tb.Cleanup(func() { _ = conn.Close() })
	return &Player{TB: tb, Conn: conn, In: codec.Buffer{Max: max}, unit: unit}
}

// Write sends bytes.
func (p *Player) Write(b []byte) {
	p.TB.Helper()
	_ = p.Conn.SetWriteDeadline(time.Now().Add(Patience))
	if _, err := p.Conn.Write(b); err != nil {
		p.Fatalf("cannot send: %v", err)
	}
}

// SendBytes sends bytes and notes them.
func (p *Player) SendBytes(b []byte) {
	p.TB.Helper()
	p.Note("sent", fmt.Sprintf("% x", b))
	p.Write(b)
}

// Fill reads more into In.
func (p *Player) Fill() error {
	if _, err := p.In.Fill(p.Conn); err != nil {
		if p.In.Len() > 0 {
			err = fmt.Errorf("the connection ended within a %s: %w\n%s", p.unit, err, HexText(p.In.Bytes()))
		}
		return err
	}
	return nil
}

// Undecodable returns the error for what is in In.
func (p *Player) Undecodable(err error) error {
	return fmt.Errorf("cannot decode what came: %w\n%s", err, HexText(p.In.Bytes()))
}

// Differs fails the test because a unit that came, encoded and as text, is not the one expected: with the words that differ,
// or the bytes when the text is the same.
func (p *Player) Differs(wantBytes, gotBytes []byte, want, got string) {
	p.TB.Helper()
	if got != want {
		p.Fatalf("got  %s\nwant %s\ndiff %s", got, want, DiffWords(want, got))
	}
	p.Fatalf("got  %s\nwant the same, but the bytes differ (- want, + got):\n%s", got, DiffBytes(wantBytes, gotBytes))
}

// ExpectSilence waits for a time in which nothing may come. next returns what comes until a deadline.
func (p *Player) ExpectSilence(d time.Duration, next func(until time.Time) (string, error)) {
	p.TB.Helper()
	got, err := next(time.Now().Add(d))
	switch {
	case err == nil:
		p.Fatalf("got %s, want nothing for %v", got, d)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		p.Fatalf("%v, want nothing for %v", err, d)
	}
}

// ExpectClose expects the other end to close the connection without sending anything more.
func (p *Player) ExpectClose(next func(until time.Time) (string, error)) {
	p.TB.Helper()
	got, err := next(time.Now().Add(Patience))
	switch {
	case err == nil:
		p.Fatalf("got %s, want the connection to be closed", got)
	case !closed(err):
		p.Fatalf("%v, want the connection to be closed", err)
	}
}

// closed reports whether an error means that the other end closed the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Note keeps a line for the message of a failure.
func (p *Player) Note(verb, text string) {
	if len(p.log) == history {
		p.log = p.log[:copy(p.log, p.log[1:])]
	}
	p.log = append(p.log, verb+" "+text)
}

// Fatalf fails the test.
func (p *Player) Fatalf(format string, args ...any) {
	p.TB.Helper()
	message := fmt.Sprintf(format, args...)
	if len(p.log) > 0 {
		message += "\nthe last " + p.unit + "s:\n\t" + strings.Join(p.log, "\n\t")
	}
	p.TB.Fatal(message)
}
