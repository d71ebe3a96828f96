# Completion of callosum-rover in bash.

# Completes what is at the cursor to one of these words.
_callosum_rover_words() {
  mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

# Completes it to a folder, or to a file whose name matches the pattern.
_callosum_rover_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(
    { compgen -d -- "$cur"; compgen -f -X "!$1" -- "$cur"; } | sort -u)
}

_callosum_rover() {
  local cur=${COMP_WORDS[COMP_CWORD]} options option='' word
  local common='--log-format --log-level --help --version'
  local limits='--budget --load-budget --memory --sandbox'
  local -i i operand=0 separator=0

  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _callosum_rover_words run check serve --help --version
    return
  fi
  case ${COMP_WORDS[1]} in
    run) options="--for --watch $limits $common" ;;
    check) options="$limits $common" ;;
    serve) options="--host $common" ;;
    *) return ;;
  esac

  # Finds the option whose value is at the cursor (bash takes --option=value for
  # three words), or where the first operand is, and a -- behind it.
  for ((i = 2; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $option ]]; then
      [[ $word == = ]] || option=''
    elif ((operand)); then
      [[ $word != -- ]] || ((separator)) || separator=i
    else
      case $word in
        --) options='' ;;
        --help | --version | --watch | --sandbox | -[hV]) ;;
        -*) option=$word ;;
        *) operand=i ;;
      esac
    fi
  done

  if [[ $option ]]; then
    [[ $cur != = ]] || cur=''
    case $option in
      --host) _callosum_rover_words 127.0.0.1 0.0.0.0 localhost ;;
      --log-format) _callosum_rover_words text json ;;
      --log-level) _callosum_rover_words debug info warn error ;;
    esac
  elif [[ $options && $cur == -* ]] && ((!operand)); then
    _callosum_rover_words "$options"
  elif [[ ${COMP_WORDS[1]} != serve ]]; then
    if ((operand)); then _callosum_rover_files '*'
    else _callosum_rover_files '*.lua'; fi
  elif ((separator == COMP_CWORD - 1)); then
    mapfile -t COMPREPLY < <(compgen -c -- "$cur" | sort -u)
  elif ((separator)); then
    _callosum_rover_files '*'
  fi
}

complete -F _callosum_rover callosum-rover
