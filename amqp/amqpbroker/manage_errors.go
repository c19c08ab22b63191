package amqpbroker

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/quartet-mq/quartet/amqp/amqp091"
)

// apiErrorOf translates an error of the broker; nil when it is none that users may know.
func apiErrorOf(err error) *apiError {
	if e, ok := errors.AsType[*invalidError](err); ok {
		_ = e
		return &apiError{http.StatusBadRequest, "bad_request", "Validation failed\n\n" + err.Error() + "\n"}
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		_ = e
		return &apiError{http.StatusRequestEntityTooLarge, "bad_request", "payload_too_large"}
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		_ = e
		return &apiError{http.StatusBadRequest, "bad_request", "not_json"}
	}
	if e, ok := errors.AsType[*amqp091.Error](err); ok {
		switch e.Code {
		case amqp091.NotFound:
			return &apiError{http.StatusNotFound, "not_found", e.Text}
		case amqp091.AccessRefused:
			return &apiError{http.StatusUnauthorized, "not_authorised", "Access refused."}
		case amqp091.InternalError:
			return nil
		}
		return &apiError{http.StatusBadRequest, "bad_request", e.Text}
	}
	return nil
}

// body is the object that a request brings.
type body map[string]json.RawMessage

const (
	maxBody    = 16 << 20
	maxPublish = 256 << 20 // a message of 128 MiB in base64, and some
)

// body reads the object that the request brings; nothing is the empty one. Each name of required must be there.
func (c *call) body(required ...string) (body, error) {
	b, err := c.read(maxBody)
	if err != nil {
		return nil, err
	}
	return parseBody(b, required...)
}

func parseBody(b []byte, required ...string) (body, error) {
	in := body{}
	if len(strings.TrimSpace(string(b))) > 0 {
		if err := json.Unmarshal(b, &in); err != nil || in == nil {
			return nil, badRequest("not_json")
		}
	}
	var missing []string
	for _, name := range required {
		if _, ok := in[name]; !ok {
			missing = append(missing, "{key_missing,"+name+"}")
		}
	}
	if missing != nil {
		return nil, badRequest("[" + strings.Join(missing, ",") + "]")
	}
	return in, nil
}

// flag reads a boolean, which may be a string.
func (in body) flag(name string) (bool, error) {
	raw, ok := in[name]
	if !ok {
		return false, nil
	}
	switch s := strings.Trim(string(raw), `"`); s {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	default:
		return false, badRequest([]string{"not_boolean", s})
	}
}

// text reads a string.
func (in body) text(name string) (string, error) {
	raw, ok := in[name]
	if !ok || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", badRequest([]any{"not_string", raw})
	}
	return s, nil
}

// number reads an integer, which may be in a string.
func (in body) number(name string) (int64, error) {
	var n int64
	if err := json.Unmarshal([]byte(strings.Trim(string(in[name]), `"`)), &n); err != nil {
		return 0, badRequest([]any{"not_integer", in[name]})
	}
	return n, nil
}

// arguments reads a table.
func (in body) arguments() (Arguments, error) {
	raw, ok := in["arguments"]
	if !ok {
		return nil, nil
	}
	var a Arguments
	if err := json.Unmarshal(raw, &a); err != nil {
		return nil, badRequest("arguments should be an object")
	}
	return a, nil
}
