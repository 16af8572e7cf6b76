#!/usr/bin/env bash
# CAST AI endpoints of vpc-1 in us-east-1, as castlink-endpoints plans them: the same steps
# as calls of the AWS CLI. It may be run again: what is there is not made a second time.
# telemetry is left out: telemetry (com.amazonaws.vpce.us-east-1.vpce-svc-0c00cf3bb0688c735) is not known to EC2 here
set -euo pipefail

export AWS_PAGER=''
region='us-east-1'
vpc='vpc-1'
deadline=$((SECONDS + 600))
# Tells EC2 a repeated call from a second one.
run="castlink-$(date +%s)-$$"
made=''
later=''
unaccepted=''

ec2() {
  aws ec2 --region "$region" --output text "$@"
}

die() {
  printf 'error: %s\n' "$1" >&2
  exit "$2"
}

pause() {
  ((SECONDS < deadline)) || die "$1" 8
  sleep 2
}

# admit PERMISSIONS: lets them in through our group, which may let them in already.
admit() {
  local said
  if ! said=$(ec2 authorize-security-group-ingress --group-id "$group" --ip-permissions "$1" 2>&1); then
    case $said in
      *InvalidPermission.Duplicate*) ;;
      *) die "$said" 1 ;;
    esac
  fi
}

# lookup TYPE SERVICE: the id of the endpoint that serves, or None.
lookup() {
  ec2 describe-vpc-endpoints --filters "Name=vpc-id,Values=$vpc" "Name=service-name,Values=$2" \
    "Name=vpc-endpoint-type,Values=$1" 'Name=vpc-endpoint-state,Values=pendingAcceptance,pending,available' \
    --query 'VpcEndpoints[0].VpcEndpointId'
}

# make TYPE SERVICE ARGUMENT...: makes the endpoint unless there is one; its id.
make() {
  local type=$1 service=$2 id
  shift 2
  id=$(lookup "$type" "$service") || return
  if [[ $id == None ]]; then
    id=$(ec2 create-vpc-endpoint --vpc-endpoint-type "$type" --vpc-id "$vpc" --service-name "$service" \
      --client-token "$run-${service##*.}" "$@" --query 'VpcEndpoint.VpcEndpointId') || return
  fi
  printf '%s\n' "$id"
}

# ask ID FIELD: one field of an endpoint; "gone" when there is none of that id.
ask() {
  local said
  if said=$(ec2 describe-vpc-endpoints --vpc-endpoint-ids "$1" --query "VpcEndpoints[0].$2" 2>&1); then
    printf '%s\n' "$said"
  else
    case $said in
      *InvalidVpcEndpointId.NotFound*) echo gone ;;
      *) die "$said" 1 ;;
    esac
  fi
}

# settle ID: waits until it is available, or waits for its provider.
settle() {
  local state
  while true; do
    state=$(ask "$1" State)
    case $state in
      available | pendingAcceptance) break ;;
      pending | gone) pause "$1 is still $state" ;;
      *) die "$1 is $state" 1 ;;
    esac
  done
  if [[ $state == pendingAcceptance ]]; then
    unaccepted="$unaccepted $1"
  fi
  printf '%s %s\n' "$1" "$state"
}

# resolve ID: private DNS, once the provider has accepted the endpoint.
resolve() {
  if [[ $(ask "$1" State) == available && $(ask "$1" PrivateDnsEnabled) != True ]]; then
    ec2 modify-vpc-endpoint --vpc-endpoint-id "$1" --private-dns-enabled >/dev/null
    settle "$1"
  fi
}

# leave ID: waits until it is gone.
leave() {
  local state
  while true; do
    state=$(ask "$1" State)
    case $state in
      gone | deleted | None) break ;;
      *) pause "$1 is still $state" ;;
    esac
  done
}

# The security group.
group=$(ec2 describe-security-groups --filters "Name=vpc-id,Values=$vpc" 'Name=group-name,Values=castlink-endpoints-vpc-1' \
  --query 'SecurityGroups[0].GroupId')
if [[ $group == None ]]; then
  group=$(ec2 create-security-group --vpc-id "$vpc" --group-name 'castlink-endpoints-vpc-1' --description 'castlink: HTTPS from vpc-1 to the CAST AI endpoints' \
    --tag-specifications '[{"ResourceType":"security-group","Tags":[{"Key":"Name","Value":"castlink-endpoints-vpc-1"},{"Key":"castlink:managed-by","Value":"castlink"},{"Key":"castlink:role","Value":"endpoints"},{"Key":"owner","Value":"it'\''s \"${HOME}\" %{x}"}]}]' --query GroupId)
  ec2 wait security-group-exists --group-ids "$group"
fi
admit '[{"IpProtocol":"tcp","FromPort":443,"ToPort":443,"IpRanges":[{"CidrIp":"10.0.0.0/16","Description":"castlink: HTTPS to the endpoints"}]}]'
admit '[{"IpProtocol":"tcp","FromPort":443,"ToPort":443,"Ipv6Ranges":[{"CidrIpv6":"2600:1f18::/56","Description":"castlink: HTTPS to the endpoints"}]}]'

# kvisor
id=$(make Interface 'com.amazonaws.vpce.us-east-1.vpce-svc-03281b4e5730a84b6' \
  --subnet-ids 'subnet-a' 'subnet-b' \
  --security-group-ids "$group" \
  --private-dns-enabled \
  --tag-specifications '[{"ResourceType":"vpc-endpoint","Tags":[{"Key":"Name","Value":"castlink-kvisor"},{"Key":"castlink:managed-by","Value":"castlink"},{"Key":"castlink:role","Value":"endpoints"},{"Key":"owner","Value":"it'\''s \"${HOME}\" %{x}"}]}]')
made="$made $id"

# rest-api
id=$(make Interface 'com.amazonaws.vpce.us-east-1.vpce-svc-0f648001d494b9a46' \
  --subnet-ids 'subnet-a' 'subnet-b' \
  --security-group-ids "$group" \
  --no-private-dns-enabled \
  --tag-specifications '[{"ResourceType":"vpc-endpoint","Tags":[{"Key":"Name","Value":"castlink-rest-api"},{"Key":"castlink:managed-by","Value":"castlink"},{"Key":"castlink:role","Value":"endpoints"},{"Key":"owner","Value":"it'\''s \"${HOME}\" %{x}"}]}]')
made="$made $id"
later="$later $id"

# s3
id=$(make Gateway 'com.amazonaws.us-east-1.s3' \
  --route-table-ids 'rtb-1' \
  --tag-specifications '[{"ResourceType":"vpc-endpoint","Tags":[{"Key":"Name","Value":"castlink-s3"},{"Key":"castlink:managed-by","Value":"castlink"},{"Key":"castlink:role","Value":"endpoints"},{"Key":"owner","Value":"it'\''s \"${HOME}\" %{x}"}]}]')
made="$made $id"

# sts
id=$(make Interface 'com.amazonaws.us-east-1.sts' \
  --subnet-ids 'subnet-a' 'subnet-b' \
  --security-group-ids "$group" \
  --private-dns-enabled \
  --tag-specifications '[{"ResourceType":"vpc-endpoint","Tags":[{"Key":"Name","Value":"castlink-sts"},{"Key":"castlink:managed-by","Value":"castlink"},{"Key":"castlink:role","Value":"endpoints"},{"Key":"owner","Value":"it'\''s \"${HOME}\" %{x}"}]}]')
made="$made $id"

# Wait for all of them.
for id in $made; do
  settle "$id"
done
for id in $later; do
  resolve "$id"
done
if [[ -n $unaccepted ]]; then
  die "CAST AI has to accept$unaccepted; then run this again" 8
fi
