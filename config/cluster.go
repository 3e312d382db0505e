package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker/property"
	"pipit/cluster/name"
)

// Cluster is the table [cluster]: what makes this process one of several copies that keep the same. Without node, it is none.
type Cluster struct {
	Node        string        `toml:"node"`
	Listen      string        `toml:"listen"`
	Peers       []string      `toml:"peers"`
	Directory   string        `toml:"directory" path:"true"`
	TLSCert     string        `toml:"tls_cert" path:"true"`
	TLSKey      string        `toml:"tls_key" path:"true"`
	TLSCA       string        `toml:"tls_ca" path:"true"`
	ForwardWait time.Duration `toml:"forward_wait" reload:"yes"`
	Heartbeat   time.Duration `toml:"heartbeat"`
	LogSize     property.Size `toml:"log_size" min:"8388608" max:"1099511627776"`
}

// Peer is a node of a cluster, and where the others reach its port.
type Peer struct{ Node, Addr string }

// ClusterPeers are those of the table, in its order.
func (c *Cluster) ClusterPeers() []Peer {
	peers := make([]Peer, len(c.Peers))
	for i, text := range c.Peers {
		peers[i].Node, peers[i].Addr, _ = strings.Cut(text, "=")
	}
	return peers
}

// maxClusterBatch is how many bytes a request may store in a cluster, where all that it stores is 64 MiB at most.
const maxClusterBatch = 48 << 20

// cluster checks the table [cluster].
func (b *binder) cluster(c *Config) {
	t := &c.Cluster
	if d := t.ForwardWait; d < 0 || d > time.Minute {
		b.errorf("cluster.forward_wait", "%q: allowed are 0s to 1m", property.FormatDuration(d))
	}
	if d := t.Heartbeat; d < 100*time.Millisecond || d > 30*time.Second {
		b.errorf("cluster.heartbeat", "%q: allowed are 100ms to 30s", property.FormatDuration(d))
	}
	if t.Node == "" {
		b.withoutNode(t)
		return
	}
	if name.Check(t.Node) != nil {
		b.errorf("cluster.node", "%q: %s", t.Node, name.Allowed)
	}
	if t.Directory == "" && !b.faulty["cluster.directory"] {
		b.errorf("cluster.directory", `"": allowed is a folder for the cluster's log, of this node alone`)
	}
	if same(t.Directory, c.Database.File) {
		b.errorf("cluster.directory", "%q: allowed is a folder, and this is the file of the database", t.Directory)
	}
	if !isAddress(t.Listen, true) {
		b.errorf("cluster.listen", "%q: allowed is host:port with a port of 1 to 65535, by which the other nodes reach this one", t.Listen)
	}
	b.peers(t)
	for _, k := range []struct{ key, value string }{{"tls_cert", t.TLSCert}, {"tls_key", t.TLSKey}, {"tls_ca", t.TLSCA}} {
		if k.value == "" && t.TLSCert+t.TLSKey+t.TLSCA != "" && !b.faulty["cluster."+k.key] {
			b.errorf("cluster."+k.key, `"": allowed are tls_cert, tls_key and tls_ca together, or none of them`)
		}
	}
	if c.Database.Sync == SyncInterval {
		b.errorf("database.sync", "%q: allowed in a cluster is %q alone", c.Database.Sync, SyncAlways)
	}
	for _, k := range []struct {
		key  string
		size property.Size
	}{{"max_payload", c.HTTP.MaxPayload}, {"max_batch", c.HTTP.MaxBatch}} {
		if k.size > maxClusterBatch {
			b.errorf("http."+k.key, "%d: allowed in a cluster are at most %d", k.size, maxClusterBatch)
		}
	}
}

// withoutNode refuses what would have no effect.
func (b *binder) withoutNode(t *Cluster) {
	for _, k := range []struct{ key, value string }{{"listen", t.Listen}, {"directory", t.Directory}, {"tls_cert", t.TLSCert}, {"tls_key", t.TLSKey}, {"tls_ca", t.TLSCA}} {
		if k.value != "" {
			b.errorf("cluster."+k.key, "%q: allowed only together with node", k.value)
		}
	}
	if len(t.Peers) > 0 {
		b.errorf("cluster.peers", "%q: allowed only together with node", t.Peers)
	}
}

// peers checks the names and addresses of the nodes.
func (b *binder) peers(t *Cluster) {
	seen := map[string]bool{}
	for i, p := range t.ClusterPeers() {
		key := fmt.Sprintf("cluster.peers[%d]", i)
		switch {
		case name.Check(p.Node) != nil, !isAddress(p.Addr, false):
			b.errorf(key, `%q: allowed is name=host:port, such as "a=10.0.0.1:7001"`, t.Peers[i])
		case seen[p.Node]:
			b.errorf(key, "%q: there is a node of that name before", t.Peers[i])
		default:
			seen[p.Node] = true
		}
	}
	if name.Check(t.Node) == nil && !b.faulty["cluster.peers"] && !slices.ContainsFunc(t.ClusterPeers(), func(p Peer) bool { return p.Node == t.Node }) {
		b.errorf("cluster.peers", "%q: allowed is a list of all nodes, name=host:port each, this one, %q, among them", t.Peers, t.Node)
	}
}

// isAddress tells whether a text is host:port with a port that others can come to.
func isAddress(s string, anyHost bool) bool {
	host, port, err := net.SplitHostPort(s)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && n > 0 && (host != "" || anyHost)
}
