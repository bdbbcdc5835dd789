#!/bin/sh
# Makes the secrets that compose.yaml reads, each once: what is there already is kept.
#
#   secrets/secret_key         the hub's secret key; back it up, the database is of little use without it
#   secrets/postgres_password  the database's password
#   secrets/hub.toml           the database's URL with that password, as a settings file of the hub
#   secrets/grafana_password   the password of Grafana's user `admin`
#
# The folder is closed to others. The files in it are not, because each container reads its own under a user of its own.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets

random() {
    od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# Writes the text $2 to secrets/$1 in one step, unless there is one.
keep() {
    if [ -e "secrets/$1" ]; then
        echo "kept secrets/$1"
        return
    fi
    printf '%s\n' "$2" > "secrets/.$1.new"
    chmod 644 "secrets/.$1.new"
    mv "secrets/.$1.new" "secrets/$1"
    echo "made secrets/$1"
}

keep secret_key "$(random)"
keep postgres_password "$(random)"
keep hub.toml "database_url = \"postgresql://hub:$(cat secrets/postgres_password)@postgres/hub\""
keep grafana_password "$(random)"
