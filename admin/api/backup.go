package api

import (
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/backup"
	"pipit/broker"
)

// Backup is a backup that the server keeps.
type Backup struct {
	Name string    `json:"name"` // of the file
	At   gate.Time `json:"at"`   // all that was answered before is in it
	Size int64     `json:"size"` // bytes
}

func backupOf(b *backup.Backup) Backup { return Backup{b.Name, gate.TimeOf(b.At), b.Size} }

// backupTime is how long the making of a backup, or loading one, may take.
const backupTime = 24 * time.Hour

// backupRoutes are those of backups. They take the scope admin, because a backup holds all messages and all secrets.
func (a *API) backupRoutes() []gate.Route {
	all := gate.V1 + "/backups"
	return []gate.Route{
		gate.Get(all, a.withBackups(a.listBackups), gate.Admin),
		gate.Post(all, a.withBackups(a.makeBackup), gate.Admin),
		gate.Post(all+"/stream", a.withBackups(a.streamBackup), gate.Admin),
		gate.Get(all+"/:name", a.withBackups(a.loadBackup), gate.Admin),
		gate.Delete(all+"/:name", a.withBackups(a.deleteBackup), gate.Admin),
	}
}

// withBackups is a handler of a server that can make backups.
func (a *API) withBackups(h gate.Handler) gate.Handler {
	return func(w http.ResponseWriter, r *http.Request, p gate.Params) error {
		if a.Backups == nil {
			return &broker.Error{Code: broker.Unavailable, Message: "Backups are not made by this process: ask the broker while it runs"}
		}
		return h(w, r, p)
	}
}

func (a *API) listBackups(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	list, err := a.Backups.List()
	if err != nil {
		return err
	}
	items := make([]Backup, len(list))
	for i := range list {
		items[i] = backupOf(&list[i])
	}
	return replyPage(w, r, items, true, func(b *Backup) gate.Place { return gate.Place{S: b.Name} })
}

func (a *API) makeBackup(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, backupTime)
	made, err := a.Backups.Make(r.Context())
	if err != nil {
		return err
	}
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupMake, made.Name)
	w.Header().Set("Location", gate.V1+"/backups/"+made.Name)
	return reply(w, http.StatusCreated, backupOf(&made))
}

func (a *API) streamBackup(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	gate.Patient(w, backupTime)
	return a.Backups.Stream(r.Context(), func(f *os.File, b backup.Backup) error {
		a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupLoad, b.Name)
		return sendBackup(w, f, &b)
	})
}

func (a *API) loadBackup(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	f, b, err := a.Backups.Open(p["name"])
	if err != nil {
		return err
	}
	defer f.Close()
	gate.Patient(w, backupTime)
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupLoad, b.Name)
	return sendBackup(w, f, &b)
}

// sendBackup sends a file, whose end has the checksum of all before it.
func sendBackup(w http.ResponseWriter, f *os.File, b *backup.Backup) error {
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": b.Name}))
	h.Set("Content-Length", strconv.FormatInt(b.Size, 10))
	w.WriteHeader(http.StatusOK)
	_, _ = io.CopyN(w, f, b.Size) // who has left does not read it; who reads less sees it by the length
	return nil
}

func (a *API) deleteBackup(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	if err := a.Backups.Delete(p["name"]); err != nil {
		return err
	}
	a.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupDelete, p["name"])
	w.WriteHeader(http.StatusNoContent)
	return nil
}
