//! The tables as each shell reads them.

use std::fmt::Write as _;

use crate::tables::{Flag, Kind, Sub, commands, options};

/// For bash: words, and the kinds of an option's values.
pub fn bash() -> String {
    let (options, commands) = (options(), commands());
    let mut text = String::new();
    writeln!(text, "\tcommands='{}'", names(commands.iter().map(|sub| &sub.name))).unwrap();
    text += "\tcase $command in\n";
    for sub in &commands {
        let values = sub.values.map_or_else(String::new, |kind| format!(" values='{}'", bash_kind(kind)));
        writeln!(text, "\t{}) options='{}'{values} ;;", sub.name, flags(&sub.flags)).unwrap();
    }
    writeln!(text, "\t*) command='' options='{}' ;;\n\tesac", flags(&options)).unwrap();
    text += "\tcase $command:$option in\n";
    let own = commands.iter().flat_map(|sub| sub.flags.iter().map(move |flag| (sub.name.as_str(), flag)));
    for (command, flag) in
        options.iter().map(|flag| ("", flag)).chain(own).filter(|(_, it)| !it.kinds.is_empty())
    {
        let kinds: Vec<String> = flag.kinds.iter().map(|kind| format!("'{}'", bash_kind(*kind))).collect();
        writeln!(text, "\t{command}:{}) kinds=({}) ;;", flag.name, kinds.join(" ")).unwrap();
    }
    text + "\tesac\n"
}

fn bash_kind(kind: Kind) -> String {
    match kind {
        Kind::Words(words) => format!("words:{words}"),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

fn flags(flags: &[Flag]) -> String {
    names(flags.iter().map(|flag| format!("--{}", flag.name)))
}

fn names(names: impl Iterator<Item = impl AsRef<str>>) -> String {
    names.map(|name| name.as_ref().to_owned()).collect::<Vec<_>>().join(" ")
}

/// For zsh: what _arguments takes.
pub fn zsh() -> String {
    let commands = commands();
    let mut text = String::from("\tcommands=(\n");
    for sub in &commands {
        writeln!(text, "\t\t'{}:{}'", sub.name, quoted(&sub.text)).unwrap();
    }
    text += "\t)\n\tcase $words[2] in\n";
    for Sub { name, flags, values, .. } in &commands {
        writeln!(text, "\t({name}) options=(").unwrap();
        flags.iter().for_each(|flag| writeln!(text, "\t\t{}", zsh_spec(flag)).unwrap());
        if let Some(kind) = values {
            writeln!(
                text,
                "\t\t'*:{}:{}'",
                if *kind == Kind::Conf { "file" } else { "name" },
                zsh_kind(*kind)
            )
            .unwrap();
        }
        text += "\t) ;;\n";
    }
    text += "\tesac\n\t_naptun_options() {\n\t\toptions=(\n";
    options().iter().for_each(|flag| writeln!(text, "\t\t\t{}", zsh_spec(flag)).unwrap());
    text + "\t\t)\n\t}\n"
}

fn zsh_spec(flag: &Flag) -> String {
    let star = if flag.repeats { "*" } else { "" };
    let mut spec =
        format!("'{star}--{}[{}]", flag.name, quoted(&flag.text).replace('[', "\\[").replace(']', "\\]"));
    for (number, kind) in flag.kinds.iter().enumerate() {
        let colon = if number > 0 || flag.optional { "::" } else { ":" };
        write!(spec, "{colon}value:{}", zsh_kind(*kind)).unwrap();
    }
    spec + "'"
}

fn zsh_kind(kind: Kind) -> String {
    match kind {
        Kind::Any => " ".to_owned(),
        Kind::Words(words) => format!("({})", words.replace(':', "\\:")),
        Kind::Dir => "_directories".to_owned(),
        Kind::User => "_users".to_owned(),
        Kind::Group => "_groups".to_owned(),
        Kind::Host => "_hosts".to_owned(),
        kind => format!("_naptun_{}", format!("{kind:?}").to_lowercase()),
    }
}

/// Inside single quotes of zsh.
fn quoted(text: &str) -> String {
    text.replace('\'', "'\\''")
}

/// For fish: one line for each option, and one for each further value.
pub fn fish() -> String {
    let commands = commands();
    let known = names(commands.iter().map(|sub| &sub.name));
    let mut text = String::new();
    for sub in &commands {
        writeln!(
            text,
            "complete -c naptun -n __naptun_first -a {} -d '{}'",
            sub.name,
            fish_quoted(&sub.text)
        )
        .unwrap();
    }
    writeln!(text, "complete -c naptun -n __naptun_first -a '{}'", fish_kind(Kind::Conf)).unwrap();
    options().iter().for_each(|flag| text += &fish_lines(&format!("not __naptun_in {known}"), flag));
    for sub in &commands {
        let condition = format!("__naptun_in {}", sub.name);
        sub.flags.iter().for_each(|flag| text += &fish_lines(&condition, flag));
        if let Some(kind) = sub.values {
            writeln!(text, "complete -c naptun -n '{condition}' -a '{}'", fish_kind(kind)).unwrap();
        }
    }
    text
}

fn fish_lines(condition: &str, flag: &Flag) -> String {
    let Flag { name, text, kinds, optional, .. } = flag;
    let mut lines = format!("complete -c naptun -n '{condition}' -l {name}");
    if let Some(first) = kinds.first() {
        // A value that may be missing is a word of its own to fish.
        let asks = if *optional { "" } else { " -x" };
        write!(lines, "{asks}").unwrap();
        if !optional && *first != Kind::Any {
            write!(lines, " -a '{}'", fish_kind(*first)).unwrap();
        }
    }
    writeln!(lines, " -d '{}'", fish_quoted(text)).unwrap();
    for (kind, number) in kinds.iter().zip(1..) {
        if (number > 1 || *optional) && *kind != Kind::Any {
            let at = format!("__naptun_value {name} {number}");
            writeln!(lines, "complete -c naptun -n '{at}' -a '{}'", fish_kind(*kind)).unwrap();
        }
    }
    lines
}

fn fish_kind(kind: Kind) -> String {
    match kind {
        Kind::Any => String::new(),
        Kind::Words(words) => words.to_owned(),
        Kind::Conf => "(__naptun_files .conf)".to_owned(),
        Kind::File => "(__naptun_files)".to_owned(),
        Kind::Dir => "(__fish_complete_directories)".to_owned(),
        Kind::User => "(__fish_complete_users)".to_owned(),
        Kind::Group => "(__fish_complete_groups)".to_owned(),
        Kind::Host => "(__fish_print_hostnames)".to_owned(),
        kind => format!("(__naptun_{}s)", format!("{kind:?}").to_lowercase()),
    }
}

fn fish_quoted(text: &str) -> String {
    text.replace('\'', "\\'")
}
