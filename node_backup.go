package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"pipit/backup"
)

// askBackup is the question for a backup of a node's copy.
const askBackup = "backup"

// backUp writes a backup of this node's copy, whoever leads.
func (n *node) backUp(ctx context.Context, path string) error {
	if o := n.open.Load(); o != nil {
		return o.b.Backup(ctx, path, nil) // whose errors are for clients
	}
	if !n.engine.IsMember() {
		return errors.New("this node has nothing of its cluster yet")
	}
	return n.store.Backup(ctx, path, nil)
}

// backupOptions are those of the configuration. As long as this node has nothing of its cluster no backup is due. The caller has config.
func (n *node) backupOptions() backup.Options {
	o := backupOptions(n.cfg, n.log)
	if !n.engine.IsMember() {
		o.Every = 0
	}
	return o
}

// sendBackup answers with a backup of this node's copy.
func (n *node) sendBackup(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	_, _ = rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}) // who asks is trusted, and may be slow
	err := n.backups.Stream(r.Context(), func(f *os.File, b backup.Backup) error {
		n.log.Info("a backup of this node's copy was asked for", "bytes", b.Size)
		w.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
		_, _ = io.CopyN(w, f, b.Size) // who reads less sees it by the length
		return nil
	})
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()})
	}
}

// loadBackup has the node of a configuration, which runs, make a backup of its copy. Where that is no node of a cluster, body is nil.
func loadBackup(ctx context.Context, file string, env []string) (body io.ReadCloser, size int64, err error) {
	dial, err := dialNode(file, env)
	if err != nil || dial == nil {
		return nil, 0, err
	}
	rsp, err := openPort(ctx, dial, http.MethodPost, askBackup)
	if err != nil {
		return nil, 0, err
	}
	return rsp.Body, rsp.ContentLength, nil
}
