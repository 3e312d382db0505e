package web

import (
	"cmp"
	"net/http"
	"strings"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/broker"
)

// clusterPages are the page of the cluster that this process leads, and what is done there.
type clusterPages struct{ *Site }

const clusterPath = "/admin/system/cluster"

func (cp clusterPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get(clusterPath, cp.with(cp.pageCluster), gate.Read),
		gate.Post(clusterPath+"/verify", cp.with(cp.postVerify), gate.Admin),
		gate.Post(clusterPath+"/transfer", cp.with(cp.postTransfer), gate.Admin),
		gate.Post(clusterPath+"/nodes", cp.with(cp.postJoin), gate.Admin),
		gate.Post(clusterPath+"/replace", cp.with(cp.postReplace), gate.Admin),
		gate.Post(clusterPath+"/leave", cp.with(cp.postLeave), gate.Admin),
	}
}

// with is a handler of a node of a cluster.
func (cp clusterPages) with(h gate.Handler) gate.Handler {
	return func(w http.ResponseWriter, r *http.Request, p gate.Params) error {
		if cp.Cluster == nil {
			return monitor.ErrNoCluster
		}
		return h(w, r, p)
	}
}

type clusterPage struct {
	monitor.ClusterStatus
	Transfer, Join, Replace, Leave *form
}

// nodeRow is the name of a node's row.
func nodeRow(n monitor.ClusterNode) string { return "node-" + rowKey(n.Node) }

func (cp clusterPages) pageCluster(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	return cp.show(w, r, http.StatusOK, view{}, clusterPage{ClusterStatus: cp.Cluster.Status(r.Context())})
}

// show shows the page. Forms that page has were sent.
func (cp clusterPages) show(w http.ResponseWriter, r *http.Request, status int, v view, page clusterPage) error {
	others := []option{{"", "Any"}}
	for _, n := range page.Nodes {
		if n.Node != page.Leader {
			others = append(others, option{n.Node, n.Node})
		}
	}
	page.Transfer = cmp.Or(page.Transfer, transferForm())
	page.Transfer.field("node").Options = others
	page.Replace = cmp.Or(page.Replace, replaceForm())
	page.Replace.field("node").Options = others[1:]
	page.Join, page.Leave = cmp.Or(page.Join, joinForm()), cmp.Or(page.Leave, leaveForm())
	v.Title, v.Nav, v.Data, v.Live = "Cluster", "system", page, liveURL("cluster", "")
	return cp.render(w, r, "cluster", status, v)
}

func transferForm() *form {
	return newForm("transfer", clusterPath+"/transfer", "Hand over",
		field{Name: "node", Label: "Node that is to lead", Type: "select", Hint: "Requests wait for it, less than a second as a rule. What is in flight is delivered again."})
}

func joinForm() *form {
	return newForm("join", clusterPath+"/nodes", "Add node",
		field{Name: "node", Label: "Name", Required: true, Hint: "Its node in [cluster]."},
		field{Name: "addr", Label: "Address", Required: true, Hint: "host:port of its listen in [cluster]. It runs, with neither a database nor a directory of before."})
}

func replaceForm() *form {
	return newForm("replace", clusterPath+"/replace", "Replace",
		field{Name: "node", Label: "Node that has lost its disk", Type: "select", Hint: "It begins anew when it runs with neither a database nor a directory of before. One that has lost nothing is refused."})
}

func leaveForm() *form {
	f := newForm("leave", clusterPath+"/leave", "Take out",
		field{Name: "node", Label: "Name of the node", Required: true, Hint: "Stop it, and take it out of peers of the others: one that they name is added again when it comes with an empty directory."})
	f.Danger = true
	return f
}

// refused shows the page again, with what is wrong in one of its forms.
func (cp clusterPages) refused(w http.ResponseWriter, r *http.Request, f *form, err error, page clusterPage) error {
	status, err := f.fail(err)
	if err != nil {
		return err
	}
	page.ClusterStatus = cp.Cluster.Known()
	return cp.show(w, r, status, view{}, page)
}

func (cp clusterPages) postVerify(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	gate.Patient(w, time.Hour)
	s, err := cp.Cluster.Verify(r.Context())
	if err != nil {
		return err
	}
	v := view{Notice: "All copies are equal."}
	switch {
	case s.Differ():
		v = view{Error: "The copies differ: keep them all, and tell the maintainers."}
	case len(s.Digests) < len(s.Nodes):
		v = view{Error: "Not all copies were compared: the others did not answer."}
	}
	return cp.show(w, r, http.StatusOK, v, clusterPage{ClusterStatus: s})
}

func (cp clusterPages) postTransfer(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := transferForm()
	f.typed(in)
	heir, err := cp.Cluster.Transfer(f.get("node"))
	if err != nil {
		return cp.refused(w, r, f, err, clusterPage{Transfer: f})
	}
	cp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterTransfer, heir)
	return cp.done(w, r, clusterPath, "Node "+heir+" is about to lead.")
}

func (cp clusterPages) postJoin(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := joinForm()
	f.typed(in)
	name := strings.TrimSpace(f.get("node"))
	if err := cp.Cluster.Join(r.Context(), name, strings.TrimSpace(f.get("addr"))); err != nil {
		return cp.refused(w, r, f, err, clusterPage{Join: f})
	}
	cp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterJoin, name)
	return cp.done(w, r, clusterPath, "Node "+name+" is added. It has a vote when it has caught up.")
}

func (cp clusterPages) postReplace(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := replaceForm()
	f.typed(in)
	name := f.get("node")
	if err := cp.Cluster.Replace(r.Context(), name); err != nil {
		return cp.refused(w, r, f, err, clusterPage{Replace: f})
	}
	cp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterReplace, name)
	return cp.done(w, r, clusterPath, "Node "+name+" begins anew.")
}

func (cp clusterPages) postLeave(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	in, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := leaveForm()
	f.typed(in)
	name := strings.TrimSpace(f.get("node"))
	err = cp.Cluster.Leave(name)
	if e := broker.ErrorOf(err); e != nil && e.Code == broker.NotFound {
		err = &fieldError{"node", "There is no such node. Nothing was done"}
	}
	if err != nil {
		return cp.refused(w, r, f, err, clusterPage{Leave: f})
	}
	cp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.ClusterLeave, name)
	return cp.done(w, r, clusterPath, "Node "+name+" is taken out.")
}
