package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"pipit/broker/property"
)

// ClusterStatus is how a cluster is, as the node that was asked knows.
type ClusterStatus struct {
	Leader string        `json:"leader"` // empty: there is none
	Term   uint64        `json:"term"`
	Nodes  []ClusterNode `json:"nodes"`
}

// ClusterNode is one of its nodes.
type ClusterNode struct {
	Node    string  `json:"node"`
	Role    string  `json:"role"`            // leader, follower, or joining: it has not caught up yet
	Applied uint64  `json:"applied"`         // the entry of the log up to which its database has everything
	Lag     uint64  `json:"lag"`             // how many entries that is behind the leader
	Contact float64 `json:"contact_seconds"` // since it was heard of last; negative: not since the start
}

// Questions to a node.
const (
	AskStatus   = "status"
	AskTransfer = "transfer?node=" // and the name of the node, empty for any
)

func clusterCommand(c *cli) *cobra.Command {
	cmd := group("cluster", "Make a cluster of several copies, and look at it", clusterInit(c), clusterStatus(c), clusterTransfer(c))
	cmd.Long = `Make a cluster of three or five copies of Pipit, which keep the same and of which a minority may be lost. The table [cluster] of the
configuration names them; --config says which one is meant.`
	return cmd
}

func clusterInit(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Begin a cluster with the database of this node",
		Long: `Begin a cluster with the database of the node that --config is of, or with an empty one. The node must not run. It is done once, on one
node; the others, which [cluster] peers names as well, need no command: they are started, with databases that are not there yet, and get
everything from the first one.`,
		Example: "  pipit cluster init --config a.toml\n  pipit --config a.toml",
		Args:    arguments(),
	}
	cmd.RunE = c.run(func(context.Context, []string) error {
		if c.config == "" {
			return errNoNode
		}
		if err := c.ClusterInit(c.config); err != nil {
			return stopFirst(err)
		}
		return c.out.tell(map[string]string{"config": c.config}, "The cluster is made: start its nodes, this one with pipit --config %s", c.config)
	})
	return cmd
}

var errNoNode = usageError{errors.New("--config is missing: the configuration of a node, with a table [cluster]")}

func clusterStatus(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the nodes of a cluster, who leads, and how far the others are behind",
		Example: "  pipit cluster status --config a.toml\n  pipit cluster status --config a.toml --json",
		Args:    arguments(),
	}
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error {
		if c.config == "" {
			return errNoNode
		}
		answer, err := c.AskNode(ctx, c.config, AskStatus)
		if err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printCluster(answer) })
	})
	return cmd
}

func (o *output) printCluster(answer json.RawMessage) error {
	var s ClusterStatus
	if err := json.Unmarshal(answer, &s); err != nil {
		return err
	}
	leader := s.Leader
	if leader == "" {
		leader = "nobody"
	}
	if err := o.printf("%s leads in term %d", leader, s.Term); err != nil {
		return err
	}
	columns := []column[ClusterNode]{
		names("NODE", func(n *ClusterNode) string { return n.Node }),
		text("ROLE", func(n *ClusterNode) string { return n.Role }),
		figure("APPLIED", func(n *ClusterNode) string { return fmt.Sprint(n.Applied) }),
		figure("LAG", func(n *ClusterNode) string { return fmt.Sprint(n.Lag) }),
		text("HEARD", func(n *ClusterNode) string {
			if n.Contact < 0 {
				return "never"
			}
			return property.FormatDuration(time.Duration(n.Contact*1000)*time.Millisecond) + " ago"
		}),
	}
	return o.printTable(tableOf(s.Nodes, columns))
}

func clusterTransfer(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "transfer [NODE]",
		Short:   "Have another node lead, such as before this one is stopped",
		Example: "  pipit cluster transfer --config a.toml\n  pipit cluster transfer b --config a.toml",
		Args:    arguments("[NODE]"),
	}
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		if c.config == "" {
			return errNoNode
		}
		to := ""
		if len(args) > 0 {
			to = args[0]
		}
		answer, err := c.AskNode(ctx, c.config, AskTransfer+to)
		if err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printCluster(answer) })
	})
	return cmd
}
