package command

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pipit/admin/access"
	"pipit/admin/object"
)

// Bounds of completing a word: a shell waits for it.
const (
	completeTime = 2 * time.Second
	completeMost = 100
)

// completion is what cobra asks for possible words.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completed asks the server for objects of a kind and returns their words that begin as typed.
// Where it does not answer there are none. A database is not opened for it.
func completed[T any](c *cli, kind, typed string, q url.Values, word func(*T) string) ([]string, cobra.ShellCompDirective) {
	const none = cobra.ShellCompDirectiveNoFileComp
	if c.file != "" || c.connect() != nil {
		return nil, none
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeTime)
	defer cancel()
	list, err := all[T](ctx, c.api, path(kind), q, completeMost)
	if err != nil {
		return nil, none
	}
	var words []string
	for i := range list.Items {
		w := word(&list.Items[i])
		if text, _, _ := strings.Cut(w, "\t"); strings.HasPrefix(text, typed) && visible(text) == text {
			words = append(words, visible(w, '\t'))
		}
	}
	return words, none
}

func (c *cli) completeTopic(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "topics", typed, searching(typed), func(t *object.Topic) string { return t.Name })
}

func (c *cli) completeClient(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "clients", typed, searching(typed), func(t *object.Client) string { return t.Username + "\t" + t.Name })
}

func (c *cli) completeProducer(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "producers", typed, nil, func(p *object.Producer) string { return id(p.ID) + "\t" + p.Client + " " + p.Topic })
}

func (c *cli) completeConsumer(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "consumers", typed, nil, func(p *object.Consumer) string { return id(p.ID) + "\t" + p.Client + " " + p.Topic })
}

func (c *cli) completeWebhook(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "webhooks", typed, searching(typed), func(w *object.Webhook) string { return w.Name + "\t" + w.Topic })
}

func (c *cli) completeToken(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	return completed(c, "tokens", typed, nil, func(t *access.Token) string { return t.Name })
}

func searching(typed string) url.Values {
	if typed == "" {
		return nil
	}
	return url.Values{"search": {typed}}
}

// inOrder completes each argument by a function of its own, further ones not at all.
func inOrder(each ...completion) completion {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= len(each) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return each[len(args)](cmd, args, typed)
	}
}

func id(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
