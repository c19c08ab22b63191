package amqp091_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

func TestCodes(t *testing.T) {
	want := map[amqp091.Code]string{
		200: "REPLY_SUCCESS", 311: "CONTENT_TOO_LARGE", 312: "NO_ROUTE", 313: "NO_CONSUMERS", 403: "ACCESS_REFUSED", 404: "NOT_FOUND",
		405: "RESOURCE_LOCKED", 406: "PRECONDITION_FAILED",
		320: "CONNECTION_FORCED hard", 402: "INVALID_PATH hard", 501: "FRAME_ERROR hard", 502: "SYNTAX_ERROR hard",
		503: "COMMAND_INVALID hard", 504: "CHANNEL_ERROR hard", 505: "UNEXPECTED_FRAME hard", 506: "RESOURCE_ERROR hard",
		530: "NOT_ALLOWED hard", 540: "NOT_IMPLEMENTED hard", 541: "INTERNAL_ERROR hard",
	}
	for code := range amqp091.Code(1000) {
		text := want[code]
		if text == "" {
			text = fmt.Sprintf("%d hard", code)
		}
		name, hard := strings.CutSuffix(text, " hard")
		if code.String() != name || code.Hard() != hard {
			t.Errorf("%d: %v, hard %t; want %s", code, code, code.Hard(), text)
		}
	}
}

func TestError(t *testing.T) {
	soft := amqp091.SoftError(amqp091.NotFound, "no queue '%s' in vhost '%s'", "q", "/")
	const text = "NOT_FOUND - no queue 'q' in vhost '/'"
	if soft.Hard || soft.Error() != "404 "+text || soft.ReplyText() != text {
		t.Errorf("soft: %v, %q", soft, soft.ReplyText())
	}
	hard := amqp091.HardError(amqp091.InternalError, "")
	hard.Err = io.ErrUnexpectedEOF
	if !hard.Hard || hard.Error() != "541 INTERNAL_ERROR: unexpected EOF" || hard.ReplyText() != "INTERNAL_ERROR" {
		t.Errorf("hard: %v, %q", hard, hard.ReplyText())
	}
	if !errors.Is(hard, io.ErrUnexpectedEOF) || errors.Is(soft, io.EOF) {
		t.Error("causes")
	}
	wrapped := fmt.Errorf("declare: %w", soft)
	if !errors.Is(wrapped, &amqp091.Error{Code: amqp091.NotFound}) || errors.Is(wrapped, &amqp091.Error{Code: amqp091.NotAllowed}) {
		t.Error("errors.Is does not ask for the code")
	}
	if errors.Is(wrapped, &amqp091.Error{Code: amqp091.NotFound, Text: "other"}) {
		t.Error("errors.Is ignores the text of the target")
	}
}

func TestRemoteError(t *testing.T) {
	for text, want := range map[string]string{
		"NOT_FOUND - no queue": "no queue", "NOT_FOUND": "", "NOT_FOUNDLING": "NOT_FOUNDLING", "": "", "gone": "gone",
		"NOT_ALLOWED - x": "NOT_ALLOWED - x",
	} {
		e := amqp091.RemoteError(amqp091.NotFound, text, amqp091.IDQueueDeclare, false)
		if e.Text != want || !e.Remote || e.Hard || e.Method != amqp091.IDQueueDeclare {
			t.Errorf("%q: %#v", text, e)
		}
	}
}

func TestReplyTextIsShort(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 300), strings.Repeat("é", 200), "x" + strings.Repeat("é", 200), strings.Repeat("𝄞", 100),
		strings.Repeat("\xff", 300), strings.Repeat("\xbf", 300), "\xff", strings.Repeat("x", 255), "",
	} {
		e := amqp091.SoftError(amqp091.NotFound, "%s", text)
		for _, got := range []string{e.ReplyText(), amqp091.CutShort(text)} {
			if len(got) > 255 || !utf8.ValidString(got) || utf8.ValidString(text) && len(text) > 255 && len(got) < 251 {
				t.Errorf("%q becomes %q, %d bytes", text, got, len(got))
			}
		}
		m := &amqp091.ChannelClose{ReplyCode: e.Code, ReplyText: e.ReplyText(), Method: e.Method}
		if _, err := amqp091.AppendMethod(nil, 1, m); err != nil {
			t.Errorf("%q cannot be sent: %v", text, err)
		}
	}
}

func TestCannotEncode(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, f := range map[string]func(dst []byte) ([]byte, error){
		"publish exchange":    func(dst []byte) ([]byte, error) { return amqp091.AppendPublish(dst, 1, long, "", false) },
		"publish key":         func(dst []byte) ([]byte, error) { return amqp091.AppendPublish(dst, 1, "", long, false) },
		"publish not UTF-8":   func(dst []byte) ([]byte, error) { return amqp091.AppendPublish(dst, 1, "", "\xff", false) },
		"publish not UTF-8 2": func(dst []byte) ([]byte, error) { return amqp091.AppendPublish(dst, 1, "\xff", "", false) },
		"deliver tag":         func(dst []byte) ([]byte, error) { return amqp091.AppendDeliver(dst, 1, long, 1, false, "", "") },
		"deliver exchange":    func(dst []byte) ([]byte, error) { return amqp091.AppendDeliver(dst, 1, "", 1, false, long, "") },
		"deliver key":         func(dst []byte) ([]byte, error) { return amqp091.AppendDeliver(dst, 1, "", 1, false, "", long) },
		"get-ok exchange":     func(dst []byte) ([]byte, error) { return amqp091.AppendGetOK(dst, 1, 1, false, long, "", 0) },
		"get-ok key":          func(dst []byte) ([]byte, error) { return amqp091.AppendGetOK(dst, 1, 1, false, "", long, 0) },
		"return text":         func(dst []byte) ([]byte, error) { return amqp091.AppendReturn(dst, 1, 312, long, "", "") },
		"return exchange":     func(dst []byte) ([]byte, error) { return amqp091.AppendReturn(dst, 1, 312, "", long, "") },
		"return key":          func(dst []byte) ([]byte, error) { return amqp091.AppendReturn(dst, 1, 312, "", "", long) },
		"method":              func(dst []byte) ([]byte, error) { return amqp091.AppendMethod(dst, 1, &amqp091.BasicGet{Queue: long}) },
		"method not UTF-8": func(dst []byte) ([]byte, error) {
			return amqp091.AppendMethod(dst, 1, &amqp091.BasicGet{Queue: "\xff"})
		},
	} {
		got, err := f([]byte("before"))
		var e *amqp091.Error
		if !errors.As(err, &e) || e.Code != amqp091.SyntaxError || e.Method == 0 || string(got) != "before" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
