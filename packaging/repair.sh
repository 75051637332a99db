# Gives what qu has made in /etc/quptime back to the service: after a command that was run as root by mistake, or
# a restore from a backup. What qu does not know is left alone, and so is a file that has a second name elsewhere.
# The directory belongs to the service's user, who might put links in the way: find follows none and acts within
# the directory that it has open, and the modes are set with no more rights than that user has.
quptime_repair() {
  dir=/etc/quptime
  [ -d "$dir" ] || return 0
  chown quptime:quptime "$dir"
  chmod 0750 "$dir"
  files='node\.yaml|cluster\.yaml|cluster\.yaml\.rejected-[^/]*|trust\.yaml|join\.yaml|last-backup|qu\.lock'
  files="($files)(\\.new)?|keys/(next(\\.new|\\.old)?/)?(private|public|cert)\\.pem"
  files="$files|state(\\.(damaged|replaced)-[^/]*)?/(vote|snapshot|mark|founding|log-[0-9]+)(\\.new)?"
  dirs='keys(/next(\.new|\.old)?)?|state(\.(damaged|replaced)-[^/]*)?'
  find -P "$dir" -xdev -mindepth 1 -regextype posix-extended \
    \( -type d -regex "$dir/($dirs)" -o -type f -links 1 -regex "$dir/($files)" \) \
    \( ! -user quptime -o ! -group quptime \) -execdir chown -h quptime:quptime '{}' +
  setpriv --reuid=quptime --regid=quptime --init-groups find -P "$dir" -xdev -mindepth 1 -user quptime \
    -regextype posix-extended \( \
    -type d -regex "$dir/($dirs)" ! -perm 0700 -execdir chmod 0700 '{}' ';' -o \
    -type f -regex "$dir/keys/(next(\\.new|\\.old)?/)?(public|cert)\\.pem" ! -perm 0644 -execdir chmod 0644 '{}' ';' -o \
    -type f ! -regex "$dir/keys/(next(\\.new|\\.old)?/)?(public|cert)\\.pem" -regex "$dir/($files)" ! -perm 0600 \
    -execdir chmod 0600 '{}' ';' \)
}
