//! Errors in `[pages]` and `[apps.NAME.pages]`.

errors! {
    blank_name_is_rejected:
        "[store]" => "[pages]\nname = \" \"\n[store]",
        at "\" \"", "invalid name", hint "1 to 100 characters";
    logo_of_another_format_is_rejected:
        "[store]" => "[pages]\nlogo_file = \"store.secret\"\n[store]",
        at "\"store.secret\"", "neither PNG nor SVG", hint "32 KiB";
    missing_logo_is_rejected:
        "[store]" => "[pages]\nlogo_file = \"no.png\"\n[store]",
        at "\"no.png\"", "no such file", hint "no.png";
    script_as_contact_is_rejected:
        "[store]" => "[pages]\ncontact = \"javascript:alert(1)\"\n[store]",
        at "\"javascript:alert(1)\"", "is no contact", hint "help@example.com";
    contact_over_http_is_rejected:
        "[store]" => "[pages]\ncontact = \"http://help.example.com\"\n[store]",
        at "\"http://help.example.com\"", "is no contact", hint "https";
    path_as_home_url_is_rejected:
        "[store]" => "[pages]\nhome_url = \"/start\"\n[store]",
        at "\"/start\"", "is not a URL", hint "https://www.example.com/";
    named_color_is_rejected:
        "[store]" => "[pages]\naccent_color = \"red\"\n[store]",
        at "\"red\"", "is no color", hint "#0b5c7a";
    color_with_more_css_is_rejected:
        "client_id = \"forum\"" =>
            "client_id = \"forum\"\npages = { background_color_dark = \"#000000;}\" }",
        at "\"#000000;}\"", "is no color", hint "#0b5c7a";
    language_without_messages_is_rejected:
        "[store]" => "[pages]\nlanguages = [\"en\", \"fr\"]\n[store]",
        at "\"fr\"", "no messages in `fr`", hint "`en`, `de` have messages";
    empty_list_of_languages_is_rejected:
        "[store]" => "[pages]\nlanguages = []\n[store]",
        at "[]", "there is no language", hint "default";
    tag_that_is_no_language_is_rejected:
        "[store]" => "[pages]\nlanguages = [\"english\"]\n[store]",
        at "\"english\"", "`english` is no language", hint "pt-BR";
    malformed_tag_is_rejected:
        "[store]" => "[pages]\nmessage_files = { d_e = \"store.secret\" }\n[store]",
        at "\"store.secret\"", "`d_e` is no language", hint "pt-BR";
    file_without_messages_is_rejected:
        "[store]" => "[pages]\nmessage_files = { fr = \"store.secret\" }\n[store]",
        at "\"store.secret\"", "line 1: not TOML", hint "en.toml";
    missing_template_folder_is_rejected:
        "[store]" => "[pages]\ntemplate_folder = \"templates\"\n[store]",
        at "\"templates\"", "no such file", hint "the path is";
}
