package kafkawire

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write new vectors, whose content must then come from Kafka's own classes")

const vectorFile = "testdata/vectors.txt"

// TestVectors decodes messages and compares with what the classes of Apache Kafka 4.4.0 found in the same bytes; the
// test of Kafka's classes in internal/interop writes that down. Each line is a message, a version, bytes and JSON.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	all := make(map[string]func() Message)
	missing := make(map[string]bool)
	allMessages(func(name string, low, high int16, make func() Message) {
		all[name] = make
		for v := low; v <= high; v++ {
			missing[fmt.Sprint(name, " ", v)] = true
		}
	})
	f, err := os.Open(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var name, text string
		var version int16
		if _, err := fmt.Sscan(lines.Text(), &name, &version, &text); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		_, content, _ := strings.Cut(lines.Text(), text+" ")
		delete(missing, fmt.Sprint(name, " ", version))
		checkVector(t, all[name](), name, version, text, content)
	}
	for what := range missing {
		t.Errorf("no vector of %s", what)
	}
}

func checkVector(t *testing.T, m Message, name string, version int16, text, content string) {
	t.Helper()
	b, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Decode(b, version); err != nil {
		t.Errorf("%s version %d: %v", name, version, err)
		return
	}
	if again, err := m.Append(nil, version); err != nil || !bytes.Equal(again, b) {
		t.Errorf("%s version %d: %v\n% x\n% x", name, version, err, again, b)
	}
	var want any
	d := json.NewDecoder(strings.NewReader(content))
	d.UseNumber()
	if err := d.Decode(&want); err != nil {
		t.Errorf("%s version %d: %v", name, version, err)
		return
	}
	if why := compare(name, reflect.ValueOf(m).Elem(), want); why != "" {
		t.Errorf("%s version %d: %s\n%+v\n%s", name, version, why, m, content)
	}
}

// compare returns how a value differs from JSON of Kafka's converters. They leave out fields that the version lacks and
// tagged fields that have their default.
func compare(path string, v reflect.Value, want any) string {
	if want == nil {
		if (v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice) && v.IsNil() {
			return ""
		}
		return fmt.Sprintf("%s is %v, not null", path, v)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return path + " is nil"
		}
		return compare(path, v.Elem(), want)
	case reflect.Struct:
		return compareStruct(path, v, want.(map[string]any))
	case reflect.Slice:
		if b, ok := v.Interface().([]byte); ok {
			if n, ok := want.(json.Number); ok && n.String() == fmt.Sprint(len(b)) { // the size of records
				return ""
			}
			return differ(path, base64.StdEncoding.EncodeToString(b), want)
		}
		list := want.([]any)
		if v.Len() != len(list) {
			return fmt.Sprintf("%s has %d elements, not %d", path, v.Len(), len(list))
		}
		for i := range list {
			if why := compare(fmt.Sprintf("%s[%d]", path, i), v.Index(i), list[i]); why != "" {
				return why
			}
		}
		return ""
	case reflect.Array:
		return differ(path, v.Interface().(UUID).String(), want)
	case reflect.Float64:
		f, _ := want.(json.Number).Float64()
		return differ(path, v.Float(), f)
	case reflect.String, reflect.Bool:
		return differ(path, v, want)
	case reflect.Uint16:
		return differ(path, v.Uint(), want)
	}
	return differ(path, v.Int(), want)
}

func differ(path string, got, want any) string {
	if fmt.Sprint(got) == fmt.Sprint(want) {
		return ""
	}
	return fmt.Sprintf("%s is %v, not %v", path, got, want)
}

func compareStruct(path string, v reflect.Value, want map[string]any) string {
	seen := make(map[string]bool)
	for key, value := range want {
		if key == "key" && v.Type() == reflect.TypeFor[FindCoordinatorRequest]() {
			key = "coordinatorKey"
		}
		key = strings.TrimSuffix(key, "SizeInBytes")
		f := v.FieldByNameFunc(func(name string) bool { return strings.EqualFold(name, key) })
		if !f.IsValid() {
			return path + " has no " + key
		}
		seen[strings.ToLower(key)] = true
		if why := compare(path+"."+key, f, value); why != "" {
			return why
		}
	}
	def := defaults(v.Type())
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name != "UnknownTags" && !seen[strings.ToLower(name)] && !isDefault(v.Field(i), def.Field(i)) {
			return fmt.Sprintf("%s.%s is %v, and Kafka does not have it", path, name, v.Field(i))
		}
	}
	return ""
}

func isDefault(v, def reflect.Value) bool {
	return v.Kind() == reflect.Slice && v.Len() == 0 || reflect.DeepEqual(v.Interface(), def.Interface())
}

func writeVectors(t *testing.T) {
	out := bytes.NewBufferString("# Random messages in every version, and what the classes of Apache Kafka 4.4.0 make of them.\n")
	allMessages(func(name string, low, high int16, make func() Message) {
		for v := low; v <= high; v++ {
			best := []byte(nil) // of a few the longest below a limit
			for seed := range uint64(20) {
				m := make()
				if err := randomize(m, v, rand.New(rand.NewPCG(seed, uint64(v)))); err != nil {
					t.Fatal(err)
				}
				b, err := m.Append(nil, v)
				if err != nil {
					t.Fatal(err)
				}
				if best == nil || len(b) > len(best) && len(b) <= 160 || len(best) > 160 && len(b) < len(best) {
					best = b
				}
			}
			fmt.Fprintf(out, "%s %d 0x%x -\n", name, v, best)
		}
	})
	if err := os.WriteFile(vectorFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}
