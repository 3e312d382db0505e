package web

import (
	"net/http"
	"time"

	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/backup"
	"pipit/broker"
)

// backupPages are the page of the backups, and what it does. A download is the API's.
type backupPages struct{ *Site }

const backupsPath = "/admin/system/backups"

func (bp backupPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get(backupsPath, bp.pageBackups, gate.Admin),
		gate.Post(backupsPath, bp.postBackup, gate.Admin),
		gate.Post(backupsPath+"/:name/delete", bp.postBackupDelete, gate.Admin),
	}
}

type backupsPage struct {
	Backups []backup.Backup
	Options backup.Options
	Due     time.Time
	Failed  time.Time
	Problem string // why the last one that was due failed
}

func (bp backupPages) pageBackups(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	p := backupsPage{}
	if bp.Backups != nil {
		var err error
		if p.Backups, err = bp.Backups.List(); err != nil {
			p.Problem = monitor.Reason(err)
		}
		p.Options, p.Due = bp.Backups.Options(), bp.Backups.Due()
		if f := bp.Backups.Failure(); f != nil {
			p.Failed, p.Problem = f.At, monitor.Reason(f.Err)
		}
	}
	return bp.render(w, r, "backups", http.StatusOK, view{Title: "Backups", Nav: "system", Data: p})
}

var errNoBackups = &broker.Error{Code: broker.Unavailable, Message: "Backups are not made by this process: ask the broker while it runs"}

// backupTime is how long a browser waits for a backup.
const backupTime = 24 * time.Hour

func (bp backupPages) postBackup(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if bp.Backups == nil {
		return errNoBackups
	}
	if _, err := readForm(w, r); err != nil {
		return err
	}
	gate.Patient(w, backupTime)
	made, err := bp.Backups.Make(r.Context())
	if err != nil {
		return err
	}
	bp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupMake, made.Name)
	return bp.done(w, r, backupsPath, "Backup "+made.Name+" is made.")
}

func (bp backupPages) postBackupDelete(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if bp.Backups == nil {
		return errNoBackups
	}
	if _, err := readForm(w, r); err != nil {
		return err
	}
	if err := bp.Backups.Delete(p["name"]); err != nil {
		return err
	}
	bp.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.BackupDelete, p["name"])
	return bp.done(w, r, backupsPath, "Backup "+p["name"]+" is deleted.")
}
