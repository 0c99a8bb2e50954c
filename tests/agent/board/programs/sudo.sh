# sudo of a board that is not there: state/sudoers names whom it trusts without a password.
if [ "$1" != -n ]; then
  echo "the agent must never wait for a password" >&2
  exit 97
fi
shift
read -r trusted <"$EDGESYNTH_ROOT/state/sudoers"
case " $trusted " in
*" ALL "* | *" ${1##*/} "*)
  export FAKE_ROOT=1
  exec "$@"
  ;;
esac
echo "sudo: a password is required" >&2
exit 1
