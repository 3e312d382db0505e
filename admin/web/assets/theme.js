// The scheme that was chosen here, before anything is painted.
try {
  const theme = localStorage.getItem("pipit-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is off: the system's scheme */ }
