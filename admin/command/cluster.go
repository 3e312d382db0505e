package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/monitor"
	"pipit/broker/property"
)

// Questions to a node.
const (
	AskStatus   = "status"
	askVerify   = "verify"
	askTransfer = "transfer" // node: its name, empty for any
	askJoin     = "join"     // node, addr
	askLeave    = "leave"    // node
	askReplace  = "replace"  // node
)

func clusterCommand(c *cli) *cobra.Command {
	cmd := group("cluster", "Make a cluster of several copies, and look at it", clusterInit(c), clusterStatus(c), clusterTransfer(c), clusterJoin(c), clusterLeave(c), clusterReplace(c))
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

// askNode has a command ask the node of --config.
func askNode(ctx context.Context, c *cli, question string, parameters url.Values) (json.RawMessage, error) {
	if c.config == "" {
		return nil, errNoNode
	}
	if len(parameters) > 0 {
		question += "?" + parameters.Encode()
	}
	return c.AskNode(ctx, c.config, question)
}

// askLeader makes a command of what the leader is to do, which then shows how the cluster is.
func askLeader(c *cli, cmd *cobra.Command, question string, parameters func(args []string) url.Values) *cobra.Command {
	cmd.RunE = c.run(func(ctx context.Context, args []string) error {
		answer, err := askNode(ctx, c, question, parameters(args))
		if err != nil {
			return err
		}
		return c.out.print(answer, func() error { return c.out.printCluster(answer) })
	})
	return cmd
}

func clusterStatus(c *cli) *cobra.Command {
	verify := false
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the nodes of a cluster, who leads, and how far the others are behind",
		Example: "  pipit cluster status --config a.toml\n  pipit cluster status --config a.toml --json",
		Args:    arguments(),
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare all copies, by a digest of what each has at one moment; it reads everything")
	cmd.RunE = c.run(func(ctx context.Context, _ []string) error {
		question := AskStatus
		if verify {
			question = askVerify
		}
		answer, err := askNode(ctx, c, question, nil)
		if err != nil {
			return err
		}
		if err := c.out.print(answer, func() error { return c.out.printCluster(answer) }); err != nil || !verify {
			return err
		}
		return compared(answer)
	})
	return cmd
}

// compared returns an error where copies differ, or one was not compared.
func compared(answer json.RawMessage) error {
	var s monitor.ClusterStatus
	if err := json.Unmarshal(answer, &s); err != nil {
		return err
	}
	different := slices.Compact(slices.Sorted(maps.Values(s.Digests)))
	switch {
	case len(different) > 1:
		return errors.New("the copies differ: keep them all, and tell the maintainers")
	case len(s.Digests) < len(s.Nodes):
		return fmt.Errorf("%d of %d copies were compared: the others did not answer", len(s.Digests), len(s.Nodes))
	}
	return nil
}

const shownDigest = 16 // characters, of 64

func (o *output) printCluster(answer json.RawMessage) error {
	var s monitor.ClusterStatus
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
	columns := []column[monitor.ClusterNode]{
		names("NODE", func(n *monitor.ClusterNode) string { return n.Node }),
		text("ROLE", func(n *monitor.ClusterNode) string { return n.Role }),
		figure("APPLIED", func(n *monitor.ClusterNode) string { return fmt.Sprint(n.Applied) }),
		figure("LAG", func(n *monitor.ClusterNode) string { return fmt.Sprint(n.Lag) }),
		text("HEARD", func(n *monitor.ClusterNode) string {
			if n.Contact < 0 {
				return "never"
			}
			return property.FormatDuration(time.Duration(n.Contact*1000)*time.Millisecond) + " ago"
		}),
	}
	if s.Digests != nil {
		columns = append(columns, text("DIGEST", func(n *monitor.ClusterNode) string {
			d := s.Digests[n.Node]
			return d[:min(len(d), shownDigest)]
		}))
	}
	return o.printTable(tableOf(s.Nodes, columns))
}

func clusterTransfer(c *cli) *cobra.Command {
	return askLeader(c, &cobra.Command{
		Use:     "transfer [NODE]",
		Short:   "Have another node lead, such as before this one is stopped",
		Example: "  pipit cluster transfer --config a.toml\n  pipit cluster transfer b --config a.toml",
		Args:    arguments("[NODE]"),
	}, askTransfer, func(args []string) url.Values {
		if len(args) == 0 {
			return nil
		}
		return url.Values{"node": args}
	})
}

func clusterJoin(c *cli) *cobra.Command {
	return askLeader(c, &cobra.Command{
		Use:   "join NODE ADDRESS",
		Short: "Add a node that [cluster] peers of the leader does not name",
		Long: `Add a node, which runs and has neither a database nor a directory of before, at the ADDRESS, host:port, of its [cluster] listen. It has a vote
when it has caught up. Those that peers names need no command.`,
		Example: "  pipit cluster join d 10.0.0.4:7001 --config a.toml",
		Args:    arguments("NODE", "ADDRESS"),
	}, askJoin, func(args []string) url.Values { return url.Values{"node": args[:1], "addr": args[1:]} })
}

func clusterLeave(c *cli) *cobra.Command {
	return askLeader(c, &cobra.Command{
		Use:     "leave NODE",
		Short:   "Take a node out of the cluster for good",
		Long:    "Take a node out of the cluster. Stop it, and take it out of [cluster] peers of the others, or they would add it again when it comes with an empty directory.",
		Example: "  pipit cluster leave d --config a.toml",
		Args:    arguments("NODE"),
	}, askLeave, func(args []string) url.Values { return url.Values{"node": args} })
}

func clusterReplace(c *cli) *cobra.Command {
	return askLeader(c, &cobra.Command{
		Use:   "replace NODE",
		Short: "Let a node begin anew that has lost its disk",
		Long: `Let a node begin anew whose directory or database was lost. Start it with neither, at the address that it had: what it was is taken out of the
cluster, and it is added under the same name. It may be started later as well, if [cluster] peers of the leader names it. A node that answers as what it was
is not taken out: see leave.`,
		Example: "  pipit cluster replace c --config a.toml",
		Args:    arguments("NODE"),
	}, askReplace, func(args []string) url.Values { return url.Values{"node": args} })
}
