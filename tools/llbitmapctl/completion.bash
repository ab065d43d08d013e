# SPDX-License-Identifier: GPL-2.0-or-later
# bash completion for llbitmapctl. What there is to complete, the tool's own help says.

_llbitmapctl_blocks=/sys/block

_llbitmapctl()
{
	local tool=$1 cur=$2 prev=$3 command=${COMP_WORDS[1]} help what i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		help=$("$tool" help 2>/dev/null | sed -n 's/^  \([a-z]*\) .*/\1/p')
		mapfile -t COMPREPLY < <(compgen -W "$help help --help --version" -- "$cur")
		return
	fi
	help=$("$tool" "$command" --help 2>/dev/null) || return
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ]; then
			_llbitmapctl_command "$((i + 1))" "$cur"
			return
		fi
	done
	if [[ $cur = -* ]]; then
		help=$(sed -n 's/^  .*\(--[a-z]*\(-[a-z]*\)*\) .*/\1/p' <<<"$help")
		mapfile -t COMPREPLY < <(compgen -W "$help" -- "$cur")
		return
	fi
	# what the option before it takes; else what the usage line says of arguments
	case $prev in
	--*) what=$(sed -n "s/^  .*$prev \([A-Z][^ ]*\) .*/\1/p" <<<"$help") ;;
	-?) what=$(sed -n "s/^  $prev, --[a-z-]* \([A-Z][^ ]*\) .*/\1/p" <<<"$help") ;;
	*) what= ;;
	esac
	_llbitmapctl_values "${what:-$(head -n 1 <<<"$help")}"
}

_llbitmapctl_values()
{
	case $1 in
	STATE | ACTION | EVENT)	# "STATE is Unwritten, Clean, ... or Syncing."
		what=$(sed -n "s/^$1 is \(.*\)\.$/\1/p" <<<"$help" | sed 's/ or /,/; s/,/ /g')
		mapfile -t COMPREPLY < <(compgen -W "$what" -- "$cur")
		;;
	HOW | KEY)	# "audit (default), trace, top or hist"
		what=$(sed -n "s/^  .* $1 *\(.*\)/\1/p" <<<"$help" | sed 's/(default)\| or /,/g; s/,/ /g')
		mapfile -t COMPREPLY < <(compgen -W "$what" -- "$cur")
		;;
	*FILE*)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		compopt -o filenames
		;;
	*ARRAY*)
		what=$(cd "$_llbitmapctl_blocks" && echo md*)
		mapfile -t COMPREPLY < <(compgen -W "${what#md\*}" -- "$cur")
		;;
	esac
}

# The word at position $1 is a command; what follows it are files.
_llbitmapctl_command()
{
	if [ "$COMP_CWORD" -eq "$1" ]; then
		mapfile -t COMPREPLY < <(compgen -c -- "$2")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$2")
	fi
	compopt -o filenames
}

complete -F _llbitmapctl llbitmapctl
