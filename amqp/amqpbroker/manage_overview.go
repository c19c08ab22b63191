package amqpbroker

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// managedVersion is the version of RabbitMQ whose API this is.
const managedVersion = "3.13.7"

// named is something with a name that is switched on.
type named struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Enabled     bool   `json:"enabled"`
}

func exchangeTypes() (out []named) {
	for name := range exchangeKinds {
		out = append(out, named{name, "", true})
	}
	out = append(out, named{"x-delayed-message", "", true})
	slices.SortFunc(out, func(a, b named) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

// listenerView is a listener.
type listenerView struct {
	Node     string   `json:"node"`
	Protocol string   `json:"protocol"`
	IP       string   `json:"ip_address"`
	Port     int      `json:"port"`
	Options  struct{} `json:"socket_opts"`
}

func (m *management) listeners() []listenerView {
	out := []listenerView{}
	for _, l := range m.opts.Listeners() {
		v := listenerView{Node: m.node, Protocol: l.Protocol}
		v.IP, v.Port = hostPort(l.Addr)
		out = append(out, v)
	}
	return out
}

// hostPort takes an address apart.
func hostPort(a net.Addr) (string, int) {
	if a == nil {
		return "", 0
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String(), 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return host, 0
	}
	return host, n
}

func (c *call) overview() (any, error) {
	t := c.m.b.totals()
	c.m.rates.apply(rateKey{}, &t.stats, time.Now())
	out := struct {
		ManagementVersion string            `json:"management_version"`
		RatesMode         string            `json:"rates_mode"`
		ExchangeTypes     []named           `json:"exchange_types"`
		ProductName       string            `json:"product_name"`
		ProductVersion    string            `json:"product_version"`
		RabbitVersion     string            `json:"rabbitmq_version"`
		ErlangVersion     string            `json:"erlang_version"`
		ErlangFull        string            `json:"erlang_full_version"`
		ClusterName       string            `json:"cluster_name"`
		Node              string            `json:"node"`
		DisableStats      bool              `json:"disable_stats"`
		EnableTotals      bool              `json:"enable_queue_totals"`
		Stats             messageStats      `json:"message_stats"`
		Churn             map[string]uint64 `json:"churn_rates"`
		Queues            queueTotals       `json:"queue_totals"`
		Objects           map[string]int    `json:"object_totals"`
		EventQueue        int               `json:"statistics_db_event_queue"`
		Listeners         []listenerView    `json:"listeners"`
		Contexts          []any             `json:"contexts"`
	}{
		ManagementVersion: managedVersion, RatesMode: "basic", ExchangeTypes: exchangeTypes(), ProductName: "Quartet",
		ProductVersion: managedVersion, RabbitVersion: managedVersion, ErlangVersion: "", ErlangFull: runtime.Version(),
		ClusterName: c.m.clusterNow(), Node: c.m.node, Stats: t.stats, Queues: t.messages,
		Churn: map[string]uint64{
			"connection_created": t.connectionsOpened, "connection_closed": t.connectionsClosed,
			"channel_created": t.channelsOpened, "channel_closed": t.channelsClosed,
			"queue_declared": t.queuesDeclared, "queue_created": t.queuesCreated, "queue_deleted": t.queuesDeleted,
		},
		Objects: map[string]int{
			"channels": t.channels, "connections": t.connections, "consumers": t.consumers, "exchanges": t.exchanges, "queues": t.queues,
		},
		Listeners: c.m.listeners(), Contexts: []any{},
	}
	if !c.monitors() {
		out.Listeners = []listenerView{}
	}
	return out, nil
}

// clusterParameter is the global parameter that is the name of the cluster.
const clusterParameter = "cluster_name"

func (m *management) clusterNow() string {
	var name string
	if json.Unmarshal(m.b.settingsOf().global(clusterParameter), &name) == nil && name != "" {
		return name
	}
	return m.cluster
}

func (c *call) clusterName() (any, error) {
	return struct {
		Name string `json:"name"`
	}{c.m.clusterNow()}, nil
}

func (c *call) putClusterName() (any, error) {
	if err := c.admit(accessAdmin); err != nil {
		return nil, err
	}
	in, err := c.body("name")
	if err != nil {
		return nil, err
	}
	name, err := in.text("name")
	if err != nil {
		return nil, err
	}
	return c.set(setting{Kind: settingGlobal, Name: clusterParameter, Value: mustJSON(name)})
}

// nodeView is a node.
type nodeView struct {
	Name          string   `json:"name"`
	Type          string   `json:"type"`
	Running       bool     `json:"running"`
	OSPid         string   `json:"os_pid"`
	Uptime        int64    `json:"uptime"` // milliseconds
	Processors    int      `json:"processors"`
	RunQueue      int      `json:"run_queue"`
	ProcUsed      int      `json:"proc_used"`
	ProcTotal     int      `json:"proc_total"`
	FDUsed        int      `json:"fd_used"`
	FDTotal       int      `json:"fd_total"`
	SocketsUsed   int      `json:"sockets_used"`
	SocketsTotal  int      `json:"sockets_total"`
	MemUsed       int64    `json:"mem_used"`
	MemLimit      int64    `json:"mem_limit"`
	MemAlarm      bool     `json:"mem_alarm"`
	DiskFree      int64    `json:"disk_free"`
	DiskFreeLimit int64    `json:"disk_free_limit"`
	DiskAlarm     bool     `json:"disk_free_alarm"`
	RatesMode     string   `json:"rates_mode"`
	ExchangeTypes []named  `json:"exchange_types"`
	Auth          []named  `json:"auth_mechanisms"`
	Applications  []named  `json:"applications"`
	Plugins       []string `json:"enabled_plugins"`
	Partitions    []string `json:"partitions"`
	Links         []string `json:"cluster_links"`
	LogFiles      []string `json:"log_files"`
	ConfigFiles   []string `json:"config_files"`
	DBDir         string   `json:"db_dir"`
	NetTicktime   int      `json:"net_ticktime"`
	Maintenance   bool     `json:"being_drained"`
}

func (c *call) node() nodeView {
	t := c.m.b.totals()
	none := []string{}
	return nodeView{
		Name: c.m.node, Type: "disc", Running: true, OSPid: strconv.Itoa(os.Getpid()),
		Uptime: time.Since(t.started).Milliseconds(), Processors: runtime.NumCPU(),
		ProcUsed: runtime.NumGoroutine(), ProcTotal: 1 << 20, SocketsUsed: t.connections, SocketsTotal: 1 << 20, FDTotal: 1 << 20,
		FDUsed:  t.connections,
		MemUsed: t.memoryUsed, MemLimit: t.memoryLimit, MemAlarm: t.memoryAlarm,
		DiskFree: t.diskFree, DiskFreeLimit: t.diskFreeLimit, DiskAlarm: t.diskAlarm,
		RatesMode: "basic", ExchangeTypes: exchangeTypes(), Applications: []named{},
		Auth:    []named{{"PLAIN", "", true}, {"AMQPLAIN", "", true}, {"EXTERNAL", "", true}},
		Plugins: []string{"rabbitmq_management"}, Partitions: none, Links: none, LogFiles: none, ConfigFiles: none, DBDir: t.dir,
	}
}

func (c *call) nodes() (any, error) {
	list := []nodeView{c.node()}
	return listOf(list, func(n *nodeView) string { return n.Name }), nil
}

func (c *call) getNode() (any, error) {
	if c.vars["node"] != c.m.node {
		return nil, errNotFound
	}
	return c.node(), nil
}

func (c *call) nodeMemory() (any, error) {
	if c.vars["node"] != c.m.node {
		return nil, errNotFound
	}
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return map[string]any{"memory": map[string]any{
		"strategy": "allocated", "total": map[string]uint64{"allocated": s.Sys, "rss": s.Sys},
		"other_ets": 0, "binary": s.HeapAlloc, "other_system": s.Sys - s.HeapSys,
	}}, nil
}

// none answers for what this broker does not have.
func (c *call) none() (any, error) { return []any{}, nil }

func (c *call) authSettings() (any, error) {
	return json.RawMessage(`{"oauth_enabled":false}`), nil
}

func (c *call) whoami() (any, error) {
	return struct {
		Name string   `json:"name"`
		Tags UserTags `json:"tags"`
	}{c.user.Name, c.user.Tags}, nil
}

// The health checks.

type healthView struct {
	Status    string   `json:"status"`
	Reason    string   `json:"reason,omitempty"`
	Port      int      `json:"port,omitempty"`
	Protocol  string   `json:"protocol,omitempty"`
	Missing   any      `json:"missing,omitempty"`
	Ports     []int    `json:"ports,omitempty"`
	Protocols []string `json:"protocols,omitempty"`
	Alarms    []string `json:"alarms,omitempty"`
}

func (c *call) healthOK() (any, error) { return healthView{Status: "ok"}, nil }

func (c *call) healthSingle() (any, error) {
	return healthView{Status: "ok", Reason: "single node cluster"}, nil
}

func (c *call) healthAlarms() (any, error) {
	t := c.m.b.totals()
	var alarms []string
	if t.memoryAlarm {
		alarms = append(alarms, "memory")
	}
	if t.diskAlarm {
		alarms = append(alarms, "disk")
	}
	if alarms != nil {
		return reply{http.StatusServiceUnavailable, "", healthView{Status: "failed", Reason: "There are alarms in effect in the cluster",
			Alarms: alarms}}, nil
	}
	return c.healthOK()
}

func (c *call) healthPort() (any, error) {
	port, err := strconv.Atoi(c.vars["port"])
	if err != nil {
		return nil, badRequest("Invalid port number")
	}
	out := healthView{Status: "failed", Reason: "No active listener", Missing: port, Ports: []int{}}
	for _, l := range c.m.listeners() {
		if l.Port == port {
			return healthView{Status: "ok", Port: port}, nil
		}
		out.Ports = append(out.Ports, l.Port)
	}
	return reply{http.StatusServiceUnavailable, "", out}, nil
}

func (c *call) healthProtocol() (any, error) {
	want := c.vars["protocol"]
	switch want {
	case "amqp091", "amqp10":
		want = "amqp"
	case "amqps":
		want = "amqp/ssl"
	case "mqtts":
		want = "mqtt/ssl"
	}
	out := healthView{Status: "failed", Reason: "No active listener", Missing: want, Protocols: []string{}}
	for _, l := range c.m.listeners() {
		if l.Protocol == want {
			return healthView{Status: "ok", Protocol: c.vars["protocol"]}, nil
		}
		out.Protocols = append(out.Protocols, l.Protocol)
	}
	return reply{http.StatusServiceUnavailable, "", out}, nil
}
