package kafkawire

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// allMessages calls f with the name, the versions and a maker of each message.
func allMessages(f func(name string, low, high int16, make func() Message)) {
	for k := range APIKey(Keys) {
		if NewRequest(k) == nil {
			continue
		}
		f(k.String()+"Request", k.MinVersion(), k.MaxVersion(), func() Message { return NewRequest(k) })
		f(k.String()+"Response", k.MinVersion(), k.MaxVersion(), func() Message { return NewResponse(k) })
	}
	data := func(low, high int16, m Message) {
		typ := reflect.TypeOf(m).Elem()
		f(typ.Name(), low, high, func() Message { return reflect.New(typ).Interface().(Message) })
	}
	data(0, 1, new(OffsetCommitKey))
	data(0, 4, new(OffsetCommitValue))
	data(2, 2, new(GroupMetadataKey))
	data(0, 4, new(GroupMetadataValue))
	data(0, 0, new(TransactionLogKey))
	data(0, 1, new(TransactionLogValue))
	data(0, 3, new(ConsumerProtocolSubscription))
	data(0, 3, new(ConsumerProtocolAssignment))
	data(0, 0, new(ControlRecordKey))
	data(0, 0, new(EndTxnMarker))
}

// eachVersion calls f in a subtest for each message, with each of its versions.
func eachVersion(t *testing.T, f func(t *testing.T, version int16, make func() Message)) {
	allMessages(func(name string, low, high int16, make func() Message) {
		t.Run(name, func(t *testing.T) {
			for v := low; v <= high; v++ {
				f(t, v, make)
			}
		})
	})
}

// randomize fills a message with values that the version can carry.
func randomize(m Message, version int16, rnd *rand.Rand) error {
	root := reflect.ValueOf(m).Elem()
	fill(root, rnd)
	last := ""
	for range 200 {
		_, err := m.Append(nil, version)
		var e *Error
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &e) || e.Field == "":
			return err
		case errors.Is(err, ErrNull):
			at(root, strings.Split(e.Field, "."), func(_, f reflect.Value) {
				if f.IsNil() {
					set(f, rnd)
				}
			})
		default:
			path := strings.Split(e.Field, ".")
			name := path[len(path)-1]
			if e.Field == last {
				path = path[len(path)-1:] // of a struct that is used in several places: look everywhere
			}
			last = e.Field
			at(root, path, func(s, f reflect.Value) {
				f.Set(defaults(s.Type()).FieldByName(name))
			})
		}
	}
	return fmt.Errorf("no message in version %d", version)
}

// defaults returns a struct after Reset.
func defaults(typ reflect.Type) reflect.Value {
	p := reflect.New(typ)
	if r, ok := p.Interface().(interface{ Reset() }); ok {
		r.Reset()
	}
	return p.Elem()
}

// at calls f with every field of a path and the struct in which it is. What comes before the path does not matter.
func at(v reflect.Value, path []string, f func(s, field reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			at(v.Elem(), path, f)
		}
	case reflect.Slice:
		for i := range v.Len() {
			at(v.Index(i), path, f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == path[len(path)-1] && len(path) == 1 {
				f(v, v.Field(i))
				continue
			}
			if v.Type().Field(i).Name == path[0] && len(path) > 1 {
				at(v.Field(i), path[1:], f)
			} else {
				at(v.Field(i), path, f)
			}
		}
	}
}

// fill sets all fields of a struct.
func fill(v reflect.Value, rnd *rand.Rand) {
	for i := range v.NumField() {
		set(v.Field(i), rnd)
	}
}

func set(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rnd.Uint64()) >> (64 - v.Type().Bits()) >> rnd.IntN(v.Type().Bits()))
	case reflect.Uint16:
		v.SetUint(uint64(rnd.Uint32N(1 << 16)))
	case reflect.Float64:
		v.SetFloat(rnd.NormFloat64())
	case reflect.String:
		v.SetString(string(randomBytes(rnd, rnd.IntN(6))))
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(rnd.IntN(256)))
		}
	case reflect.Pointer:
		v.SetZero()
		if rnd.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			if v.Elem().Kind() == reflect.Struct {
				fill(v.Elem(), rnd)
			} else {
				set(v.Elem(), rnd)
			}
		}
	case reflect.Slice:
		setSlice(v, rnd)
	case reflect.Struct:
		fill(v, rnd)
	}
}

func setSlice(v reflect.Value, rnd *rand.Rand) {
	switch v.Interface().(type) {
	case []byte:
		v.SetBytes(randomBytes(rnd, rnd.IntN(10)))
		return
	case []Tag:
		var list []Tag
		if rnd.IntN(4) == 0 {
			list = []Tag{{ID: 100, Data: randomBytes(rnd, 3)}, {ID: 1000, Data: []byte{}}}
		}
		v.Set(reflect.ValueOf(list))
		return
	}
	n := rnd.IntN(4)
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		set(v.Index(i), rnd)
	}
}

func randomBytes(rnd *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + rnd.IntN(26))
	}
	return b
}
