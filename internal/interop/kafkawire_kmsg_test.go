package interop

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/quartet-mq/quartet/kafka/kafkawire"
)

// TestKmsg encodes random messages with franz-go's kmsg, for every key and version that both know. Ours decodes them and
// encodes the same bytes, which kmsg takes for what it wrote.
func TestKmsg(t *testing.T) {
	for key := range kafkawire.APIKey(kafkawire.Keys) {
		theirs := kmsg.RequestForKey(int16(key))
		if kafkawire.NewRequest(key) == nil || theirs == nil {
			continue
		}
		t.Run(key.String(), func(t *testing.T) {
			if theirs.MaxVersion() < key.MaxVersion() {
				t.Logf("kmsg knows versions to %d only, of %d", theirs.MaxVersion(), key.MaxVersion())
			}
			for version := key.MinVersion(); version <= min(key.MaxVersion(), theirs.MaxVersion()); version++ {
				for seed := range uint64(10) {
					rnd := rand.New(rand.NewPCG(seed, uint64(version)))
					checkKmsg(t, kmsg.RequestForKey(int16(key)), kafkawire.NewRequest(key), version, rnd)
					checkKmsg(t, kmsg.ResponseForKey(int16(key)), kafkawire.NewResponse(key), version, rnd)
				}
			}
		})
	}
}

// kmsgMessage is what requests and responses of kmsg have in common.
type kmsgMessage interface {
	SetVersion(int16)
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
}

func checkKmsg(t *testing.T, theirs kmsgMessage, ours kafkawire.Message, version int16, rnd *rand.Rand) {
	t.Helper()
	fillKmsg(reflect.ValueOf(theirs).Elem(), rnd)
	theirs.SetVersion(version)
	b := theirs.AppendTo(nil)
	if err := ours.Decode(b, version); err != nil {
		t.Fatalf("%T version %d: %v\n% x", ours, version, err, b)
	}
	again, err := ours.Append(nil, version)
	if err != nil || !bytes.Equal(b, again) {
		t.Fatalf("%T version %d: %v\nkmsg % x\nours % x\n%+v", ours, version, err, b, again, ours)
	}
	back := reflect.New(reflect.TypeOf(theirs).Elem()).Interface().(kmsgMessage)
	back.SetVersion(version)
	if err := back.ReadFrom(again); err != nil {
		t.Fatalf("%T version %d: kmsg: %v", ours, version, err)
	}
	if third := back.AppendTo(nil); !bytes.Equal(b, third) {
		t.Fatalf("%T version %d:\n% x\n% x", ours, version, b, third)
	}
}

// fillKmsg sets the fields of a struct of kmsg.
func fillKmsg(v reflect.Value, rnd *rand.Rand) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rnd.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rnd.Uint64()) >> (64 - v.Type().Bits()) >> rnd.IntN(v.Type().Bits()))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(rnd.Uint64() >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(rnd.NormFloat64())
	case reflect.String:
		v.SetString(fmt.Sprintf("%x", rnd.Uint32())[:rnd.IntN(4)])
	case reflect.Pointer:
		if rnd.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fillKmsg(v.Elem(), rnd)
		}
	case reflect.Slice:
		n := rnd.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fillKmsg(v.Index(i), rnd)
		}
	case reflect.Array:
		for i := range v.Len() {
			fillKmsg(v.Index(i), rnd)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" {
				fillKmsg(v.Field(i), rnd)
			}
		}
	}
}
