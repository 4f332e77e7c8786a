#!/bin/sh
# Starts `audiocraft "$@"` with the secrets that are files under /run/secrets: what is in the environment of a container
# can be read by whoever may inspect it, a file only inside.
set -eu
secrets=${SECRETS_DIR:-/run/secrets}

secret() {
    if [ -s "$secrets/$1" ]; then tr -d '\n' < "$secrets/$1"; fi
}

password=$(secret postgres_password)
if [ -n "$password" ] && [ -z "${AUDIOCRAFT_DATABASE:-}" ]; then
    AUDIOCRAFT_DATABASE="postgresql://audiocraft:$password@${POSTGRES_HOST:-postgres}/audiocraft"
    export AUDIOCRAFT_DATABASE
fi
key=$(secret api_key)
if [ -n "$key" ]; then
    AUDIOCRAFT_API_KEY=$key
    export AUDIOCRAFT_API_KEY
fi
token=$(secret hf_token)
if [ -n "$token" ]; then
    HF_TOKEN=$token
    export HF_TOKEN
fi
exec audiocraft "$@" --log-format json
