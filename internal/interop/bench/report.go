package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/quartet-mq/quartet/internal/interop/load"
	"github.com/quartet-mq/quartet/internal/interop/peer"
)

// A report gathers the outcomes of all rounds.
type report struct {
	brokers []peer.Broker
	// rows and figures are by name, then by broker, in the order of names.
	names, figureNames []string
	rows               map[[2]string][]row
	figures            map[[2]string][]figure
	errors             []string
}

func newReport(brokers []peer.Broker) *report {
	return &report{
		brokers: brokers,
		rows:    make(map[[2]string][]row),
		figures: make(map[[2]string][]figure),
	}
}

func (r *report) add(broker string, o *outcome) {
	for _, x := range o.rows {
		if !slices.Contains(r.names, x.name) {
			r.names = append(r.names, x.name)
		}
		k := [2]string{x.name, broker}
		r.rows[k] = append(r.rows[k], x)
	}
	for _, x := range o.figures {
		if !slices.Contains(r.figureNames, x.name) {
			r.figureNames = append(r.figureNames, x.name)
		}
		k := [2]string{x.name, broker}
		r.figures[k] = append(r.figures[k], x)
	}
}

func (r *report) fail(broker, scenario string, err error) {
	r.errors = append(r.errors, fmt.Sprintf("%s, %s: %v", scenario, broker, err))
}

// write prints the report in markdown.
func (r *report) write(w io.Writer, o *options) {
	r.writeHead(w, o)
	r.writeTable(w, false)
	r.writeTable(w, true)
	r.writeFigures(w)
	r.writeNotes(w)
}

// writeTable prints the rows of the durable scenarios, or of the others, if there are any.
func (r *report) writeTable(w io.Writer, durable bool) {
	var names []string
	has := func(name string, b peer.Broker) bool { return len(r.rows[[2]string{name, b.Name}]) > 0 }
	for _, name := range r.names {
		for _, b := range r.brokers {
			if rows := r.rows[[2]string{name, b.Name}]; len(rows) > 0 && rows[0].durable == durable {
				names = append(names, name)
				break
			}
		}
	}
	if len(names) == 0 {
		return
	}
	var columns []int
	for i, b := range r.brokers {
		if slices.ContainsFunc(names, func(name string) bool { return has(name, b) }) {
			columns = append(columns, i)
		}
	}
	fmt.Fprint(w, "\n| scenario |")
	for _, what := range []string{"µs", "msg/s"} {
		for _, i := range columns {
			fmt.Fprintf(w, " %s %s |", r.brokers[i].Name, what)
		}
	}
	fmt.Fprint(w, " CPU, best peer / ours | rate, ours / best peer |\n|---|", strings.Repeat("--:|", 2*len(columns)+2), "\n")
	for _, name := range names {
		cpus := r.values(name, func(x row) float64 { return float64(x.cpu) / 1e3 })
		rates := r.values(name, func(x row) float64 { return x.rate })
		fmt.Fprintf(w, "| %s |", name)
		for _, i := range columns {
			fmt.Fprintf(w, " %s |", number(cpus[i]))
		}
		for _, i := range columns {
			fmt.Fprintf(w, " %s |", rate(rates[i]))
		}
		fmt.Fprintf(w, " %s | %s |\n", ratio(r.bestPeer(cpus, false), r.ours(cpus)), ratio(r.ours(rates), r.bestPeer(rates, true)))
	}
}

// writeHead says what was measured, where and how.
func (r *report) writeHead(w io.Writer, o *options) {
	var names []string
	for _, b := range r.brokers {
		names = append(names, strings.TrimSpace(b.Name+" "+b.Version()))
	}
	fmt.Fprintf(w, "%s. %s.\n\n", strings.Join(names, ", "), machine())
	if len(r.names) == 0 && !slices.ContainsFunc(r.figureNames, func(name string) bool { return !isQUIC(name) }) {
		fmt.Fprintf(w, "MQTT over QUIC beside TLS over TCP, both ends ours and in processes of their own; %v for each measurement.\n", o.d)
		return
	}
	if r.ran(isKafka) {
		fmt.Fprint(w, "Kafka: acks=all, five requests under way on each of up to four connections, batches of 512 KiB in a request altogether. ")
	}
	fmt.Fprintf(w, "%d-byte payloads where nothing else is said, %s, %v per scenario after %v of warming up, a fresh broker for each; ", load.PayloadSize, r.protocols(), o.d, o.warm)
	if o.rounds > 1 {
		fmt.Fprintf(w, "the brokers alternate, median of %d rounds.", o.rounds)
	} else {
		fmt.Fprint(w, "the brokers alternate, one round.")
	}
	fmt.Fprint(w, " Processor time of the broker per message (µs) first, messages per second second; with several deliveries per message a message is a delivery.\n")
	if slices.ContainsFunc(r.brokers, func(b peer.Broker) bool { return b.Name == ours && r.ran(isMQTT) }) {
		fmt.Fprintf(w, "%s checks a hashed password on connecting and an access list, with its default limits; the others are open to everybody.\n", ours)
	}
	if slices.ContainsFunc(r.names, r.durable) {
		fmt.Fprint(w, "In the durable scenarios sessions or queues outlive their connections and state is on disk.")
		for _, b := range r.brokers {
			if b.Durable != "" {
				fmt.Fprintf(w, " %s: %s.", b.Name, b.Durable)
			}
		}
		fmt.Fprintln(w)
	}
}

// isMQTT tells the protocol of a scenario by its name.
func isMQTT(name string) bool { return !isAMQP(name) && !isKafka(name) && !isQUIC(name) }

func isAMQP(name string) bool { return strings.HasPrefix(name, "amqp") }

func isKafka(name string) bool { return strings.HasPrefix(name, "kafka") }

func isQUIC(name string) bool { return strings.HasPrefix(name, "quic") }

// ran reports whether a row is of a scenario that f is true for.
func (r *report) ran(f func(name string) bool) bool { return slices.ContainsFunc(r.names, f) }

// protocols names the protocols of the scenarios that were run.
func (r *report) protocols() string {
	var names []string
	for _, p := range []struct {
		name string
		is   func(string) bool
	}{{"MQTT 3.1.1", isMQTT}, {"AMQP 0-9-1", isAMQP}, {"Kafka", isKafka}} {
		if r.ran(p.is) {
			names = append(names, p.name)
		}
	}
	return strings.Join(names, " and ")
}

// durable reports whether a row is of a durable scenario.
func (r *report) durable(name string) bool {
	return slices.ContainsFunc(r.brokers, func(b peer.Broker) bool {
		rows := r.rows[[2]string{name, b.Name}]
		return len(rows) > 0 && rows[0].durable
	})
}

// writeFigures prints what is not a rate.
func (r *report) writeFigures(w io.Writer) {
	if len(r.figureNames) == 0 {
		return
	}
	fmt.Fprint(w, "\n| |")
	for _, b := range r.brokers {
		fmt.Fprintf(w, " %s |", b.Name)
	}
	fmt.Fprint(w, " best peer / ours |\n|---|", strings.Repeat("--:|", len(r.brokers)+1), "\n")
	for _, name := range r.figureNames {
		higher, context := false, false
		vs := make([]float64, len(r.brokers))
		for i, b := range r.brokers {
			fs := r.figures[[2]string{name, b.Name}]
			vs[i] = median(fs, func(f figure) float64 { return f.value })
			if len(fs) > 0 {
				higher, context = fs[0].higher, fs[0].context
			}
		}
		fmt.Fprintf(w, "| %s |", name)
		for _, v := range vs {
			fmt.Fprintf(w, " %s |", number(v))
		}
		best, own := r.bestPeer(vs, higher), r.ours(vs)
		if higher {
			best, own = own, best
		}
		if context {
			best = math.NaN()
		}
		fmt.Fprintf(w, " %s |\n", ratio(best, own))
	}
}

// writeNotes prints lost messages, what the load generator cost and errors.
func (r *report) writeNotes(w io.Writer) {
	var notes []string
	for _, name := range r.names {
		for _, b := range r.brokers {
			rows := r.rows[[2]string{name, b.Name}]
			if lost := median(rows, func(x row) float64 { return float64(x.lost) }); lost > 0 {
				notes = append(notes, fmt.Sprintf("%s lost %.0f messages in %s.", b.Name, lost, name))
			}
			if n := median(rows, func(x row) float64 { return float64(x.repeated) }); n > 0 {
				notes = append(notes, fmt.Sprintf("%s delivered %.0f messages again in %s.", b.Name, n, name))
			}
			if n := median(rows, func(x row) float64 { return float64(x.late) }); n > 0 {
				notes = append(notes, fmt.Sprintf("%s delivered %.0f messages after later ones of their publisher in %s.", b.Name, n, name))
			}
			cpu := median(rows, func(x row) float64 { return float64(x.cpu) })
			if load := median(rows, func(x row) float64 { return float64(x.load) }); load > cpu {
				notes = append(notes, fmt.Sprintf("The load generator used more processor time (%s µs) than %s in %s.", number(load/1e3), b.Name, name))
			}
		}
	}
	for _, n := range append(notes, r.errors...) {
		fmt.Fprintf(w, "\n- %s", n)
	}
	if len(notes)+len(r.errors) > 0 {
		fmt.Fprintln(w)
	}
}

// values returns the median of one column for each broker, NaN where there is none.
func (r *report) values(name string, f func(row) float64) []float64 {
	vs := make([]float64, len(r.brokers))
	for i, b := range r.brokers {
		vs[i] = median(r.rows[[2]string{name, b.Name}], f)
	}
	return vs
}

func (r *report) ours(vs []float64) float64 {
	for i, b := range r.brokers {
		if b.Name == ours {
			return vs[i]
		}
	}
	return math.NaN()
}

// bestPeer returns the best value of the others.
func (r *report) bestPeer(vs []float64, higher bool) float64 {
	best := math.NaN()
	for i, b := range r.brokers {
		v := vs[i]
		if b.Name == ours || math.IsNaN(v) {
			continue
		}
		if math.IsNaN(best) || higher == (v > best) {
			best = v
		}
	}
	return best
}

func median[T any](xs []T, f func(T) float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	vs := make([]float64, len(xs))
	for i, x := range xs {
		vs[i] = f(x)
	}
	slices.Sort(vs)
	return (vs[(len(vs)-1)/2] + vs[len(vs)/2]) / 2
}

// number prints a value with three digits that count.
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 100 || a == 0:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func rate(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.0f k", v/1e3)
	}
	return number(v)
}

func ratio(a, b float64) string {
	if math.IsNaN(a) || math.IsNaN(b) || b == 0 {
		return "–"
	}
	return number(a / b)
}

// machine names the processor, the kernel and Go.
func machine() string {
	var u unix.Utsname
	kernel := ""
	if unix.Uname(&u) == nil {
		kernel = unix.ByteSliceToString(u.Release[:])
	}
	cpu := "processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range bytes.Lines(b) {
			if k, v, _ := bytes.Cut(line, []byte(":")); string(bytes.TrimSpace(k)) == "model name" {
				cpu = string(bytes.TrimSpace(v))
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s, Linux %s, %s, loopback, %s", runtime.NumCPU(), cpu, kernel, runtime.Version(), time.Now().UTC().Format(time.DateOnly))
}
