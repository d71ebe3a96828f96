# Completion of callosum-rover in bash.

# Completes the word at the cursor to one of these words.
_callosum_rover_words() {
  mapfile -t COMPREPLY < <(compgen -W "$*" -- "$cur")
}

# Completes the word to a folder, or to a file whose name matches the pattern.
_callosum_rover_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(
    { compgen -d -- "$cur"; compgen -f -X "!$1" -- "$cur"; } | sort -u)
}

_callosum_rover() {
  local cur=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}
  local options='' option='' help='' scenarios='' word name
  local -A values=() # of options with a value: its description in --help
  local -i i operand=0 separator=0

  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _callosum_rover_words run check front serve simulate status top servers \
      reload drain resume --help --version
    return
  fi
  [[ $command == @(run|check|front|serve|simulate|status|top|servers|reload|drain|resume) ]] ||
    return
  [[ $command != simulate ]] || help=simulate

  # The options are those of --help: "  --for SECONDS   run: stop after ...".
  local list='^(([a-z0-9.]+, )*[a-z0-9.]+) or ([a-z0-9.]+)( \(|:)'
  local scenario='^  ([a-z]+) +[A-Z]'
  local line='^  (-[a-zA-Z], )?(--[a-z-]+)( [A-Z]+)? +(([a-z]+, )*([a-z]+): )?(.*)'
  local -a lines=()
  while IFS= read -r word; do
    if [[ $word == '                             '* ]] && ((${#lines[@]})); then
      lines[-1]+=" ${word:29}"
    else
      lines+=("$word")
    fi
  done < <("${COMP_WORDS[0]}" $help --help 2>/dev/null)
  for word in "${lines[@]}"; do
    [[ ! $help || ! $word =~ $scenario ]] || scenarios+=" ${BASH_REMATCH[1]}"
    [[ $word =~ $line ]] || continue
    name=${BASH_REMATCH[2]}
    [[ ! ${BASH_REMATCH[4]} || " ${BASH_REMATCH[4]}" == *" $command"[,:]* ]] ||
      continue
    options+=" $name"
    [[ ! ${BASH_REMATCH[3]} ]] || values[$name]=${BASH_REMATCH[7]}
  done

  # Finds the option whose value is at the cursor (bash takes --option=value for
  # three words), or where the first operand is, and a -- behind it.
  for ((i = 2; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $option ]]; then
      [[ $word == = ]] || option=''
    elif ((operand)); then
      [[ $word != -- ]] || ((separator)) || separator=i
    elif [[ $word == -- ]]; then options=''
    elif [[ $word != -* ]]; then operand=i
    elif [[ ${values[$word]} ]]; then option=$word
    fi
  done

  if [[ $option ]]; then
    [[ $cur != = ]] || cur=''
    if [[ $option == @(--allow-path|--plot) ]]; then
      _callosum_rover_files ''
    elif [[ $option == @(--admin|--tls-@(cert|key|ca|crl)) ]]; then
      _callosum_rover_files '*'
    elif [[ $option == --scenario ]]; then
      _callosum_rover_files '*.lua'
      [[ $cur == */* ]] ||
        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(
          compgen -W "$scenarios" -- "$cur")
    elif [[ $option == --host ]]; then
      _callosum_rover_words 127.0.0.1 0.0.0.0 localhost
    elif [[ ${values[$option]} =~ $list ]]; then
      _callosum_rover_words "${BASH_REMATCH[1]//,/}" "${BASH_REMATCH[3]}"
    fi
  elif [[ $options && $cur == -* ]] && ((!operand)); then
    _callosum_rover_words "$options"
  elif [[ $command == servers ]]; then
    ((operand)) || _callosum_rover_words list add drop pause drain resume
  elif [[ $command == @(status|top|reload|drain|resume) ]]; then
    :
  elif [[ $command != serve ]]; then
    if ((operand)) || [[ $command == front ]]; then _callosum_rover_files '*'
    else _callosum_rover_files '*.lua'; fi
  elif ((separator == COMP_CWORD - 1)); then
    mapfile -t COMPREPLY < <(compgen -c -- "$cur" | sort -u)
  elif ((separator)); then
    _callosum_rover_files '*'
  fi
}

complete -F _callosum_rover callosum-rover
